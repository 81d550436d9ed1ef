// A stop waits for what runs, releases the rest and starts nothing.

import { expect, test } from "bun:test";

import type { Inbox } from "../../src/inbox/inbox.ts";
import { RetryAfterError } from "../../src/index.ts";
import { claimer, SECOND } from "../inbox/box.ts";
import { dispatching } from "./dispatching.ts";

const never = () => new Promise<never>(() => {});

test("a stop lets running handlers finish, and starts no more", async () => {
  await using bellhop = await dispatching({ "user.created": () => Bun.sleep(60) }, { concurrency: 1 });
  await bellhop.send("running");
  await bellhop.send("waiting");
  await bellhop.reaches("running", "running");
  await Promise.all([bellhop.dispatcher.stop(5 * SECOND), bellhop.dispatcher.stop(0)]);
  expect((await bellhop.run("running")).state).toBe("done");
  expect(await bellhop.run("waiting")).toMatchObject({ state: "waiting", attempts: [] });
  expect(bellhop.dispatcher.running).toBe(0);
});

test("what has not ended when a stop is over is released", async () => {
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
  const [claimed] = (await bellhop.inbox.claim(claimer({ "user.created": 1 }))).runs;
  expect(claimed).toMatchObject({ spent: 0, interrupted: 0 });
});

test("a stop releases a run that is handed over in the same moment", async () => {
  let called = false;
  let stop: (() => Promise<void>) | undefined;
  await using bellhop = await dispatching(
    { "user.created": () => (called = true) },
    {
      between: (inbox) => ({
        ...inbox,
        get writable() {
          return inbox.writable;
        },
        claimWithEachCommit: (claimer, start) =>
          inbox.claimWithEachCommit(claimer, (claim) => {
            start(claim);
            if (claim.runs.length > 0) void stop?.();
          }),
      }),
    },
  );
  stop = () => bellhop.dispatcher.stop(1_000);
  await bellhop.send("msg_1");
  await stop();
  expect(called).toBe(false);
  expect(await bellhop.run("msg_1")).toMatchObject({ state: "waiting", attempts: [] });
});

test("a stopped dispatcher starts nothing", async () => {
  await using bellhop = await dispatching({ "user.created": () => "done" });
  await bellhop.dispatcher.stop(0);
  await bellhop.send("msg_1");
  await bellhop.dispatcher.tableChanged();
  await Bun.sleep(30);
  expect((await bellhop.run("msg_1")).state).toBe("waiting");
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
      // Two attempts end at once, and the same commit claims one of their runs again.
      concurrency: 2,
      // The answers about their ends come late.
      between: (inbox) =>
        new Proxy(inbox, {
          get(target, name) {
            if (name !== "finish") return Reflect.get(target, name, target) as unknown;
            const finish: Inbox["finish"] = async (...args) => {
              const answer = await target.finish(...args);
              await Bun.sleep(20);
              return answer;
            };
            return finish;
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
