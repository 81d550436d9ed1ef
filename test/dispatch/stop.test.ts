// A stop waits for running handlers, releases the runs that remain and starts none.

import { expect, test } from "bun:test";

import { InboxUnavailable } from "../../src/errors.ts";
import { RetryAfterError } from "../../src/index.ts";
import { claimer, SECOND } from "../inbox/box.ts";
import { failCommits } from "../inbox/failing-commits.ts";
import { dispatching, withOperations } from "./dispatching.ts";

const never = () => new Promise<never>(() => {});

test("a stop lets running handlers finish, and starts no more", async () => {
  const release = Promise.withResolvers<void>();
  await using bellhop = await dispatching({ "user.created": () => release.promise }, { concurrency: 1 });
  await bellhop.send("running");
  await bellhop.send("waiting");
  await bellhop.reaches("running", "running");
  const stopped = Promise.all([bellhop.dispatcher.stop(5 * SECOND), bellhop.dispatcher.stop(0)]);
  await Bun.sleep(60);
  release.resolve();
  await stopped;
  expect((await bellhop.run("running")).state).toBe("done");
  expect(await bellhop.run("waiting")).toMatchObject({ state: "waiting", attempts: [] });
  expect(bellhop.dispatcher.running).toBe(0);
});

test("releases runs that have not ended when a stop times out", async () => {
  let aborted = false;
  const started = Promise.withResolvers<void>();
  await using bellhop = await dispatching({
    "user.created": ({ signal }) => {
      signal.addEventListener("abort", () => (aborted = true));
      started.resolve();
      return never();
    },
  });
  await bellhop.send("msg_1");
  await started.promise;
  await bellhop.dispatcher.stop(20);
  expect(aborted).toBe(true);
  expect(await bellhop.run("msg_1")).toMatchObject({ state: "waiting", due: 0, attempts: [] });
  const [claimed] = (await bellhop.inbox.claim(claimer({ "user.created": 1 }))).runs;
  expect(claimed).toMatchObject({ spent: 0, interrupted: 0 });
});

test("a stop releases a run that is claimed at the same moment", async () => {
  let called = false;
  let stop: (() => Promise<void>) | undefined;
  await using bellhop = await dispatching(
    { "user.created": () => (called = true) },
    {
      wrap: (inbox) =>
        withOperations(inbox, {
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

test("a stop waits for an attempt that was claimed in the commit that ended the previous one", async () => {
  const bothStarted = Promise.withResolvers<void>();
  const retried = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  let started = 0;
  let running = 0;
  await using opened = await dispatching(
    {
      "user.created": async ({ run, delivery }) => {
        if (delivery.id === "msg_3") return;
        if (run.attempt > 1) {
          running += 1;
          retried.resolve();
          await release.promise;
          running -= 1;
          return;
        }
        if ((started += 1) === 2) bothStarted.resolve();
        await bothStarted.promise;
        throw new RetryAfterError("at once", 0);
      },
    },
    {
      // Two attempts end at the same time, and the same commit claims one of their runs again.
      concurrency: 2,
      // Delays the results of `finish`.
      wrap: (inbox) =>
        withOperations(inbox, {
          async finish(...args) {
            const result = await inbox.finish(...args);
            await Bun.sleep(20);
            return result;
          },
        }),
    },
  );
  await Promise.all([1, 2, 3].map((number) => opened.send(`msg_${number}`)));
  await retried.promise;
  // Until the delayed results of both ends have arrived.
  await Bun.sleep(40);
  expect(running).toBeGreaterThan(0);
  const runningAfterStop = opened.dispatcher.stop(5_000).then(() => running);
  await Bun.sleep(100);
  release.resolve();
  expect(await runningAfterStop).toBe(0);
});

test("a run whose end a stop could not record stays running, because it may have written", async () => {
  const ended = Promise.withResolvers<void>();
  const finish = () => {
    ended.resolve();
    return Promise.reject(new InboxUnavailable(new Error("the disk is full")));
  };
  await using bellhop = await dispatching(
    { "user.created": () => {} },
    { wrap: (inbox) => withOperations(inbox, { finish }) },
  );
  await bellhop.send("msg_1");
  await ended.promise;
  await bellhop.dispatcher.stop(0);
  const pause = () => bellhop.inbox.pauses.pause("user.deleted", "person", null, null);
  // After a failed commit, the next one gives back the attempts that the server does not hold.
  const refused = await failCommits({ count: 1, durable: false }, pause).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(InboxUnavailable);
  expect(await pause()).toBe(true);
  expect((await bellhop.run("msg_1")).state).toBe("running");
});
