import { expect, test } from "bun:test";

import { NonRetriableError, RetryAfterError } from "../../src/bellhop.ts";
import { InboxUnavailable } from "../../src/errors.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { until } from "../harness.ts";
import { at, createClocks, DAY, interrupted, SECOND } from "../inbox/contract.ts";
import { dispatching, message, refusing, runsFor, tableOf } from "./dispatching.ts";

const never = () => new Promise<never>(() => {});
test("an accepted event runs through every handler that matches it", async () => {
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
  expect(bellhop.ends).toHaveLength(3);
});

test("a failing run goes again after 5 s, 20 s and 80 s, and then is dead with every error", async () => {
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
    bellhop.dispatcher.wake();
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

test("an error that no retry would help is dead at once, and the next event of its subject goes on", async () => {
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

test("user.deleted does not run while user.created is being retried", async () => {
  const order: string[] = [];
  await using bellhop = await dispatching({
    "user.created": ({ run }) => {
      order.push(`created ${run.attempt}`);
      if (run.attempt < 3) throw new RetryAfterError("not yet", 30);
    },
    "user.deleted": ({ run }) => order.push(`deleted, stale: ${run.stale}`),
    "user.deleted/crm": () => order.push("crm"),
  });
  await bellhop.send("created", { subject: "user_1" });
  await bellhop.send("deleted", { subject: "user_1", type: "user.deleted", at: at(5) });
  await bellhop.reaches("deleted", "done");
  expect(order.filter((each) => each !== "crm")).toEqual([
    "created 1",
    "created 2",
    "created 3",
    "deleted, stale: false",
  ]);
  // Another lane did not wait.
  expect(order.indexOf("crm")).toBeLessThan(2);
});

test("no more runs of a handler go at a time than CONCURRENCY says, and all of them go", async () => {
  let now = 0;
  let most = 0;
  await using bellhop = await dispatching(
    {
      "user.created": async () => {
        most = Math.max(most, (now += 1));
        await Bun.sleep(1);
        now -= 1;
      },
    },
    { concurrency: 3 },
  );
  await Promise.all(Array.from({ length: 60 }, (_, n) => bellhop.send(`msg_${n}`)));
  await until("all to be done", () => bellhop.ends.length === 60);
  expect(most).toBe(3);
});

test("a handler that hangs in all of its slots delays no other", async () => {
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

test("a time-out frees the slot, and a handler that wakes up late changes nothing", async () => {
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

test("one handler that blocks the thread does not use up another one's time", async () => {
  await using bellhop = await dispatching({
    "user.created": [
      { timeout: 300, attempts: 1 },
      async () => {
        await Bun.sleep(100);
        await Bun.sleep(100);
      },
    ],
    "session.created": () => {
      const end = performance.now() + 600;
      while (performance.now() < end);
    },
  });
  await bellhop.send("patient");
  await bellhop.reaches("patient", "running");
  await bellhop.send("blocking", { type: "session.created" });
  await bellhop.reaches("blocking", "done");
  expect(await bellhop.reaches("patient", "done")).toMatchObject({ attempts: [{ outcome: "done" }] });
});

test("a stale event is skipped by a handler that asks for it, and reaches the others with a flag", async () => {
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

  // Asked for by its id it runs, whatever the handler says.
  await bellhop.inbox.replay("early", "again", [{ handler: "user.updated", lane: "user", parked: false }]);
  expect(await bellhop.reaches("early", "done", 2)).toMatchObject({ replay: "again" });
});

test("a run that asks for an hour or for 30 days waits without spinning", async () => {
  let claims = 0;
  await using bellhop = await dispatching(
    {
      "user.created": () => {
        throw new RetryAfterError("next month", "30d");
      },
    },
    {
      between: (inbox) => ({
        ...inbox,
        get writable() {
          return inbox.writable;
        },
        claim: (...words: Parameters<Inbox["claim"]>) => {
          claims += 1;
          return inbox.claim(...words);
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

test("a run's end that cannot be recorded is recorded when the disk is back, and its lane stands still until then", async () => {
  const disk = refusing("settle", 3);
  const calls: string[] = [];
  await using bellhop = await dispatching(
    { "user.created": ({ data, delivery }) => calls.push(`${data.id} ${delivery.id}`) },
    { between: disk.between },
  );
  await bellhop.send("first", { subject: "user_1" });
  await until("the first refusal", () => disk.refused > 0);
  await bellhop.send("second", { subject: "user_1", at: at(1) });
  await bellhop.send("other", { subject: "user_2" });
  expect((await bellhop.run("first")).state).toBe("running");
  await bellhop.reaches("other", "done");
  expect(calls).not.toContain("user_1 second");
  await bellhop.reaches("second", "done");
  expect(disk.refused).toBe(3);
  expect(calls.toSorted()).toEqual(["user_1 first", "user_1 second", "user_2 other"]);
  expect(await bellhop.run("first")).toMatchObject({ state: "done", attempts: [{ attempt: 1 }] });
});

test("a claim that failed is made again", async () => {
  const disk = refusing("claim", 2);
  await using bellhop = await dispatching({ "user.created": () => "done" }, { between: disk.between });
  await bellhop.send("msg_1");
  expect(await bellhop.reaches("msg_1", "done")).toMatchObject({ attempts: [{ outcome: "done" }] });
  expect(disk.refused).toBe(2);
});

test("a claim that failed but was stored all the same costs no run an attempt, and none runs twice", async () => {
  const disk = refusing("claim", 2, { durable: true });
  const calls: string[] = [];
  await using bellhop = await dispatching(
    {
      "user.created": async ({ data, run }) => {
        calls.push(`${data.id} ${run.attempt}`);
        await Bun.sleep(data.id === "long" ? 700 : 1);
      },
    },
    { between: disk.between },
  );
  // Past the dispatcher, so that each of them waits, and is claimed.
  const runs = [{ handler: "user.created", lane: "user", parked: false }];
  for (const id of ["a", "long", "b", "c"]) await bellhop.inbox.accept(message(id), runs);
  for (const id of ["a", "long", "b", "c"]) await bellhop.reaches(id, "done");
  expect(disk.refused).toBe(2);
  expect(calls.toSorted()).toEqual(["a 1", "b 1", "c 1", "long 1"]);
});

test("a delivery that was stored although its commit failed runs, also when nothing comes after it", async () => {
  const disk = refusing("accept", 1, { durable: true });
  const calls: string[] = [];
  await using bellhop = await dispatching(
    { "user.created": ({ data, run }) => calls.push(`${data.id} ${run.attempt}`) },
    { between: disk.between },
  );
  expect(await bellhop.send("a").catch((error: unknown) => error)).toBeInstanceOf(InboxUnavailable);
  await bellhop.reaches("a", "done");
  expect(calls).toEqual(["a 1"]);
});

test("a run that goes again at once is one that runs, and not one that nobody holds", async () => {
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

test("what a crash left running goes again, and nothing is lost", async () => {
  const calls: string[] = [];
  const table = tableOf({ "user.created": () => 1 });
  await using bellhop = await dispatching(
    { "user.created": ({ data, run }) => calls.push(`${data.id} ${run.attempt}`) },
    {
      async before(inbox) {
        for (const id of ["one", "two", "three"]) await inbox.accept(message(id), runsFor(table, "user.created"));
        await inbox.claim("the one that died", new Map([["user.created", 2]]));
      },
    },
  );
  for (const id of ["one", "two", "three"]) await bellhop.reaches(id, "done");
  expect(calls.toSorted()).toEqual(["one 2", "three 1", "two 2"]);
  expect((await bellhop.run("one")).attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "done"]);
});

test("the last attempt of a run that crashes interrupted goes with nothing beside it", async () => {
  const table = tableOf({ "user.created": () => 1 });
  const beside = new Map<string, string[]>();
  const going = new Set<string>();
  await using bellhop = await dispatching(
    {
      "user.created": [
        { attempts: 2 },
        async ({ data }) => {
          const id = String(data.id);
          going.add(id);
          for (const each of going) beside.set(each, [...(beside.get(each) ?? []), ...going]);
          await Bun.sleep(20);
          going.delete(id);
        },
      ],
    },
    {
      async before(inbox) {
        for (let n = 0; n < 3; n += 1) await inbox.accept(message(`suspect_${n}`), runsFor(table, "user.created"));
        await inbox.claim("the one that died", new Map([["user.created", 10]]));
        for (let n = 0; n < 5; n += 1) await inbox.accept(message(`innocent_${n}`), runsFor(table, "user.created"));
      },
    },
  );
  const ids = [0, 1, 2].map((n) => `suspect_${n}`);
  for (const id of ids) await bellhop.reaches(id, "done");
  for (const id of ids) expect(new Set(beside.get(id))).toEqual(new Set([id]));
  for (let n = 0; n < 5; n += 1) await bellhop.reaches(`innocent_${n}`, "done");
  expect(beside.get("innocent_0")?.length).toBeGreaterThan(1);
});

test("one that killed its process alone is dead, and its neighbours are not", async () => {
  const table = tableOf({ "user.created": () => 1 });
  await using bellhop = await dispatching(
    { "user.created": [{ attempts: 2 }, () => "done"] },
    {
      async before(inbox) {
        await inbox.accept(message("guilty"), runsFor(table, "user.created"));
        await inbox.accept(message("neighbour"), runsFor(table, "user.created"));
        const first = await inbox.claim("died first", new Map([["user.created", 10]]));
        for (const ticket of first.tickets) await inbox.settle(ticket, interrupted(0, ticket.delivery.id === "guilty"));
        await inbox.claim("died second", new Map(), true);
      },
    },
  );
  await bellhop.reaches("neighbour", "done");
  expect(await bellhop.run("guilty")).toMatchObject({
    state: "dead",
    reason: expect.stringContaining("while it ran alone"),
    attempts: [{ outcome: "interrupted" }, { outcome: "dead", error: { name: "Crash" } }],
  });
});

test("runs of a broken file wait for it and hold nobody up", async () => {
  await using bellhop = await dispatching({ "user.created": "broken", "user.updated": () => "done" });
  await bellhop.send("created", { subject: "user_1" });
  await bellhop.send("updated", { subject: "user_1", type: "user.updated", at: at(1) });
  await bellhop.reaches("updated", "done");
  expect(await bellhop.run("created")).toMatchObject({ state: "waiting", parked: true, attempts: [] });
});

test("runs whose file went away before the start wait for it and hold nobody up", async () => {
  const earlier = tableOf({ "user.created": () => 1, "user.updated": () => 1 });
  await using bellhop = await dispatching(
    { "user.updated": () => "done" },
    {
      async before(inbox) {
        const subject = "user_1";
        await inbox.accept(message("created", { subject }), runsFor(earlier, "user.created"));
        const updated = message("updated", { subject, type: "user.updated", at: at(1) });
        await inbox.accept(updated, runsFor(earlier, "user.updated"));
      },
    },
  );
  await bellhop.reaches("updated", "done");
  expect(await bellhop.run("created")).toMatchObject({ state: "waiting", parked: true });
});

test("a handler that goes and comes back is waited for, and runs on what it is by then", async () => {
  const calls: string[] = [];
  const there = tableOf({ "user.created": () => calls.push("first"), "user.updated": () => calls.push("updated") });
  const away = tableOf({ "user.updated": () => calls.push("updated") });
  const back = tableOf({ "user.created": () => calls.push("back"), "user.updated": () => calls.push("updated") });
  let table = there;
  await using bellhop = await dispatching({}, { table: () => table });
  table = away;
  await bellhop.dispatcher.tableChanged();
  await bellhop.inbox.accept(message("created", { subject: "user_1" }), runsFor(there, "user.created"));
  await bellhop.dispatcher.tableChanged();
  await bellhop.send("updated", { subject: "user_1", type: "user.updated", at: at(5) });
  // It holds nobody up.
  await bellhop.reaches("updated", "done");
  expect(await bellhop.run("created")).toMatchObject({ state: "waiting", parked: true, attempts: [] });
  table = back;
  await bellhop.dispatcher.tableChanged();
  await bellhop.reaches("created", "done");
  expect(calls).toEqual(["updated", "back"]);
});

test("a change of the table that cannot be stored is stored when the disk is back", async () => {
  // The first one is at the start.
  let parks = 0;
  const there = tableOf({ "user.created": () => "done" });
  let table = tableOf({});
  await using bellhop = await dispatching(
    {},
    {
      table: () => table,
      between: (inbox) => ({
        ...inbox,
        get writable() {
          return inbox.writable;
        },
        async park(loaded) {
          parks += 1;
          if (parks === 2 || parks === 3) throw new InboxUnavailable(new Error("disk I/O error"));
          return inbox.park(loaded);
        },
      }),
    },
  );
  await bellhop.inbox.accept(message("msg_1"), [{ handler: "user.created", lane: "user", parked: true }]);
  table = there;
  await bellhop.dispatcher.tableChanged();
  await bellhop.reaches("msg_1", "done");
  expect(parks).toBeGreaterThanOrEqual(4);
});

test("a stop lets running handlers finish, and begins no more", async () => {
  await using bellhop = await dispatching({ "user.created": () => Bun.sleep(60) }, { concurrency: 1 });
  await bellhop.send("running");
  await bellhop.send("waiting");
  await bellhop.reaches("running", "running");
  await Promise.all([bellhop.dispatcher.stop(5 * SECOND), bellhop.dispatcher.stop(0)]);
  expect((await bellhop.run("running")).state).toBe("done");
  expect(await bellhop.run("waiting")).toMatchObject({ state: "waiting", attempts: [] });
  expect(bellhop.dispatcher.running).toBe(0);
});

test("what has not ended when a stop is over is given back without a loss", async () => {
  let aborted = false;
  const began = Promise.withResolvers<void>();
  await using bellhop = await dispatching({
    "user.created": ({ signal }) => {
      signal.addEventListener("abort", () => (aborted = true));
      began.resolve();
      return never();
    },
  });
  await bellhop.send("msg_1");
  await began.promise;
  await bellhop.dispatcher.stop(20);
  expect(aborted).toBe(true);
  expect(await bellhop.run("msg_1")).toMatchObject({ state: "waiting", due: 0, attempts: [] });
  const [ticket] = (await bellhop.inbox.claim("next", new Map([["user.created", 1]]))).tickets;
  expect(ticket).toMatchObject({ spent: 0, interrupted: 0 });
});

test("a dispatcher that is stopped begins nothing, however often it is woken", async () => {
  await using bellhop = await dispatching({ "user.created": () => "done" });
  await bellhop.dispatcher.stop(0);
  await bellhop.send("msg_1");
  bellhop.dispatcher.wake();
  await Bun.sleep(30);
  expect((await bellhop.run("msg_1")).state).toBe("waiting");
});

test("a failure of our own while an end is recorded is told, and the run ends all the same", async () => {
  let left = 1;
  await using bellhop = await dispatching(
    { "user.created": () => "done" },
    {
      between: (inbox) => ({
        ...inbox,
        get writable() {
          return inbox.writable;
        },
        settle: async (...words: Parameters<Inbox["settle"]>) => {
          if (left > 0) {
            left -= 1;
            throw new Error("a bug");
          }
          return inbox.settle(...words);
        },
      }),
    },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  expect(bellhop.troubles).toMatchObject([{ message: "a bug" }]);
});

test("a stop waits for an attempt that was claimed in the commit that ended the one before", async () => {
  const both = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  let began = 0;
  let running = 0;
  await using opened = await dispatching(
    {
      "user.created": async ({ run, delivery }) => {
        if (delivery.id === "msg_3") return;
        if (run.attempt > 1) {
          running += 1;
          second.resolve();
          await Bun.sleep(100);
          running -= 1;
          return;
        }
        if ((began += 1) === 2) both.resolve();
        await both.promise;
        throw new RetryAfterError("at once", 0);
      },
    },
    {
      // Two end at once, and a third that waits for a slot makes the same commit claim: also one of those two.
      concurrency: 2,
      // Their ends are told late.
      between: (inbox) =>
        new Proxy(inbox, {
          get(target, name) {
            if (name !== "settle") return Reflect.get(target, name, target) as unknown;
            const settle: Inbox["settle"] = async (...words) => {
              const settled = await target.settle(...words);
              await Bun.sleep(20);
              return settled;
            };
            return settle;
          },
        }),
    },
  );
  await Promise.all([1, 2, 3].map((number) => opened.send(`msg_${number}`)));
  await second.promise;
  await Bun.sleep(40);
  expect(running).toBeGreaterThan(0);
  await opened.dispatcher.stop(5_000);
  expect(running).toBe(0);
});

test("an end that was on the disk although its commit failed is told of, once", async () => {
  let failures = 1;
  await using bellhop = await dispatching(
    { "user.created": () => undefined },
    {
      between: (inbox) => ({
        ...inbox,
        async settle(ticket, outcome) {
          const settled = await inbox.settle(ticket, outcome);
          if (failures-- > 0) throw new InboxUnavailable(new Error("disk I/O error"));
          return settled;
        },
      }),
    },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  await bellhop.dispatcher.idle();
  expect(bellhop.ends.map(({ outcome }) => outcome.kind)).toEqual(["done"]);
});
