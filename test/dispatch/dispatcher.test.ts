// Deliveries run through their handlers: in order, within their slots and timeouts, retried when they fail.

import { expect, test } from "bun:test";

import { NonRetriableError, RetryAfterError } from "../../src/index.ts";
import { at, createClocks, DAY, knownHandler, replayOf } from "../inbox/box.ts";
import { until } from "../until.ts";
import { dispatching, withOperations } from "./dispatching.ts";

const never = () => new Promise<never>(() => {});

test("an accepted event runs in every handler that matches it", async () => {
  const called: string[] = [];
  await using bellhop = await dispatching({
    "user.created": ({ data }) => called.push(`created ${data.id}`),
    "user.[action]": ({ event }) => called.push(`every ${event.type}`),
    "[...event]": () => called.push("all"),
    "user.deleted": () => called.push("deleted"),
  });
  await bellhop.send("msg_1", { subject: "user_1" });
  for (const index of [0, 1, 2]) expect(await bellhop.reaches("msg_1", "done", index)).toMatchObject({ reason: null });
  expect(called.toSorted()).toEqual(["all", "created user_1", "every user.created"]);
  expect(bellhop.outcomes).toHaveLength(3);
});

test("a failing run is retried after 5 s, 20 s and 80 s, and is then dead with every error", async () => {
  const clocks = createClocks();
  let calls = 0;
  await using bellhop = await dispatching(
    {
      "user.created": [
        { attempts: 4 },
        () => {
          calls += 1;
          throw new Error(`no ${calls}`);
        },
      ],
    },
    { clocks },
  );
  await bellhop.send("msg_1");
  for (const [index, delay] of [5_000, 20_000, 80_000].entries()) {
    const { due } = await bellhop.reaches(
      "msg_1",
      (run) => run.attempts.length === index + 1 && run.state === "waiting",
    );
    expect(due).toBeWithin(delay * 0.8, delay * 1.2 + 1);
    clocks.pass(due!);
    await bellhop.dispatcher.idle();
  }
  const { attempts, reason } = await bellhop.reaches("msg_1", "dead");
  expect(reason).toBe("gave up after 4 attempts");
  expect(attempts.map(({ attempt, outcome, error }) => [attempt, outcome, error?.message])).toEqual([
    [1, "retry", "no 1"],
    [2, "retry", "no 2"],
    [3, "retry", "no 3"],
    [4, "dead", "no 4"],
  ]);
  for (const { startedAt, took, error } of attempts) {
    expect(startedAt).toBeWithin(Date.now() - 60_000, Date.now() + 1);
    expect(took).toBeGreaterThanOrEqual(0);
    expect(error?.stack).toContain("dispatcher.test.ts");
  }
});

test("a run with a non-retriable error is dead at once, and the next event of its subject runs", async () => {
  await using bellhop = await dispatching({
    "user.created": () => {
      throw new NonRetriableError("no such plan");
    },
    "user.deleted": () => "done",
  });
  await bellhop.send("created", { subject: "user_1" });
  await bellhop.send("deleted", { subject: "user_1", type: "user.deleted", at: at(5) });
  await bellhop.reaches("deleted", "done");
  expect(await bellhop.run("created")).toMatchObject({ state: "dead", attempts: [{ outcome: "dead" }] });
});

test("user.deleted does not run while user.created is retried, and another lane does not wait", async () => {
  const order: string[] = [];
  const crmHasRun = Promise.withResolvers<void>();
  await using bellhop = await dispatching({
    "user.created": async ({ run }) => {
      order.push(`created ${run.attempt}`);
      await crmHasRun.promise;
      if (run.attempt < 3) throw new RetryAfterError("not yet", 30);
    },
    "user.deleted": ({ run }) => order.push(`deleted, stale: ${run.stale}`),
    "user.deleted/crm": () => {
      order.push("crm");
      crmHasRun.resolve();
    },
  });
  await bellhop.send("created", { subject: "user_1" });
  await bellhop.send("deleted", { subject: "user_1", type: "user.deleted", at: at(5) });
  await bellhop.reaches("deleted", "done");
  expect(order).toEqual(["created 1", "crm", "created 2", "created 3", "deleted, stale: false"]);
});

test("runs at most CONCURRENCY runs of a handler at a time, and all of them eventually", async () => {
  let running = 0;
  let peak = 0;
  await using bellhop = await dispatching(
    {
      "user.created": async () => {
        peak = Math.max(peak, (running += 1));
        await Bun.sleep(1);
        running -= 1;
      },
    },
    { concurrency: 3 },
  );
  await Promise.all(Array.from({ length: 60 }, (_, n) => bellhop.send(`msg_${n}`)));
  await until("all runs to end", () => bellhop.outcomes.length === 60);
  expect(peak).toBe(3);
});

test("a handler that hangs in all of its slots delays no other handler", async () => {
  await using bellhop = await dispatching(
    { "user.created": never, "user.created/crm": () => "done", "session.created": () => "done" },
    { concurrency: 2 },
  );
  for (let n = 0; n < 5; n += 1) await bellhop.send(`msg_${n}`);
  await bellhop.send("session", { type: "session.created" });
  for (let n = 0; n < 5; n += 1) await bellhop.reaches(`msg_${n}`, "done", 1);
  await bellhop.reaches("session", "done");
  const states = await Promise.all(Array.from({ length: 5 }, (_, n) => bellhop.run(`msg_${n}`)));
  expect(states.map(({ state }) => state).toSorted()).toEqual(["running", "running", "waiting", "waiting", "waiting"]);
});

test("a timeout frees the slot, and a handler that continues after it changes nothing", async () => {
  const late = Promise.withResolvers<void>();
  await using bellhop = await dispatching(
    {
      "user.created": [
        { timeout: 50, attempts: 1 },
        async ({ data, log, signal }) => {
          if (data.id === "quick") return;
          await Bun.sleep(150);
          log.info(`late, aborted: ${signal.aborted}`);
          late.resolve();
          throw new NonRetriableError("late");
        },
      ],
    },
    { concurrency: 1 },
  );
  await bellhop.send("slow");
  await bellhop.send("quick");
  await bellhop.reaches("quick", "done");
  await late.promise;
  await Bun.sleep(20);
  const slow = await bellhop.run("slow");
  expect(slow).toMatchObject({ state: "dead", attempts: [{ error: { name: "TimeoutError" } }] });
  expect(slow.attempts).toHaveLength(1);
  expect(JSON.stringify(slow)).not.toContain("late");
  expect(bellhop.lines).toEqual([{ level: "info", message: "late, aborted: true" }]);
  expect(bellhop.dispatcher.running).toBe(0);
});

test("a handler that blocks the thread does not use up another handler's timeout", async () => {
  const started = Promise.withResolvers<void>();
  await using bellhop = await dispatching({
    "user.created": [
      { timeout: 1_000, attempts: 1 },
      async () => {
        started.resolve();
        await Bun.sleep(100);
        await Bun.sleep(100);
      },
    ],
    "session.created": () => {
      const end = performance.now() + 2_000;
      while (performance.now() < end);
    },
  });
  await bellhop.send("slow");
  await started.promise;
  await bellhop.send("blocking", { type: "session.created" });
  await bellhop.reaches("blocking", "done");
  expect(await bellhop.reaches("slow", "done")).toMatchObject({ attempts: [{ outcome: "done" }] });
});

test('a stale event is skipped by handlers with `stale: "skip"`, and flagged for the others', async () => {
  const stale: boolean[] = [];
  await using bellhop = await dispatching({
    "user.updated": [{ stale: "skip" }, () => "done"],
    "user.updated/crm": ({ run }) => stale.push(run.stale),
  });
  await bellhop.send("late", { type: "user.updated", subject: "user_1", at: at(5) });
  for (const index of [0, 1]) await bellhop.reaches("late", "done", index);
  await bellhop.send("early", { type: "user.updated", subject: "user_1", at: at(1) });
  expect(await bellhop.reaches("early", "skipped")).toMatchObject({ reason: expect.stringContaining("stale") });
  await bellhop.reaches("early", "done", 1);
  expect(stale).toEqual([false, true]);

  // A replay by id runs even in a handler that skips stale events.
  await bellhop.inbox.replay(replayOf("early", "again", [knownHandler("user.updated")]));
  expect(await bellhop.reaches("early", "done", 2)).toMatchObject({ replay: "again" });
});

test("a run whose retry is due in 30 days waits without polling", async () => {
  let claims = 0;
  await using bellhop = await dispatching(
    {
      "user.created": () => {
        throw new RetryAfterError("next month", "30d");
      },
    },
    {
      wrap: (inbox) =>
        withOperations(inbox, {
          claim: (...args) => {
            claims += 1;
            return inbox.claim(...args);
          },
        }),
    },
  );
  await bellhop.send("msg_1");
  const { due } = await bellhop.reaches("msg_1", (run) => run.state === "waiting" && run.attempts.length === 1);
  expect(due).toBeWithin(30 * DAY - 5_000, 30 * DAY + 1);
  await Bun.sleep(50);
  const before = claims;
  await Bun.sleep(200);
  expect(claims).toBe(before);
});

test("a run that is retried at once counts as one running run", async () => {
  const running: number[] = [];
  await using bellhop = await dispatching({
    "user.created": [
      { attempts: 50 },
      async ({ run }) => {
        await Bun.sleep(1);
        running.push(bellhop.dispatcher.running);
        if (run.attempt < 50) throw new RetryAfterError("at once", 0);
      },
    ],
  });
  await bellhop.send("msg_1");
  expect((await bellhop.reaches("msg_1", "done")).attempts).toHaveLength(50);
  expect(new Set(running)).toEqual(new Set([1]));
});
