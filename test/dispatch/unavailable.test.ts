// The dispatcher while the inbox can't be written or fails with a bug.

import { expect, test } from "bun:test";

import { InboxUnavailable } from "../../src/errors.ts";
import { at, run } from "../inbox/box.ts";
import { failCommits } from "../inbox/failing-commits.ts";
import { until } from "../until.ts";
import { dispatching, failing, message, withOperations } from "./dispatching.ts";

test("an outcome that can't be recorded is recorded when the disk is back, and blocks its order key until then", async () => {
  const disk = failing("finish", 3);
  const calls: string[] = [];
  await using bellhop = await dispatching(
    { "user.created": ({ data, delivery }) => calls.push(`${data.id} ${delivery.id}`) },
    { wrap: disk.wrap },
  );
  await bellhop.send("first", { subject: "user_1" });
  await until("the first failure", () => disk.failures > 0);
  await bellhop.send("second", { subject: "user_1", at: at(1) });
  await bellhop.send("other", { subject: "user_2" });
  expect((await bellhop.run("first")).state).toBe("running");
  await bellhop.reaches("other", "done");
  expect(calls).not.toContain("user_1 second");
  await bellhop.reaches("second", "done");
  expect(disk.failures).toBe(3);
  expect(calls.toSorted()).toEqual(["user_1 first", "user_1 second", "user_2 other"]);
  expect(await bellhop.run("first")).toMatchObject({ state: "done", attempts: [{ attempt: 1 }] });
});

test("a failed claim is retried", async () => {
  const disk = failing("claim", 2);
  await using bellhop = await dispatching(
    { "user.created": () => "done" },
    {
      wrap: disk.wrap,
      before: async (inbox) => void (await inbox.accept(message("msg_1"), [run("user.created")])),
    },
  );
  expect(await bellhop.reaches("msg_1", "done")).toMatchObject({ attempts: [{ outcome: "done" }] });
  expect(disk.failures).toBe(2);
});

test.each(["abandoned", "park", "sweep"] as const)("starts although the first %p fails", async (operation) => {
  const disk = failing(operation, 1);
  await using bellhop = await dispatching({ "user.created": () => "done" }, { wrap: disk.wrap });
  expect(disk.failures).toBe(1);
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
});

test("a claim that was stored but reported as failed costs no attempt and runs nothing twice", async () => {
  const calls: string[] = [];
  await using bellhop = await dispatching({
    "user.created": async ({ data, run }) => {
      calls.push(`${data.id} ${run.attempt}`);
      await Bun.sleep(data.id === "long" ? 700 : 1);
    },
  });
  await bellhop.send("long");
  await until("the run to start", () => calls.length > 0);
  // The deliveries and the claims of their runs are stored, but the dispatcher does not know about the claims.
  const lost = await failCommits({ count: 3, durable: true }, () =>
    Promise.allSettled(["a", "b"].map((id) => bellhop.send(id))),
  );
  expect(lost).toMatchObject([{ reason: expect.any(InboxUnavailable) }, { reason: expect.any(InboxUnavailable) }]);
  for (const id of ["a", "b", "long"]) await bellhop.reaches(id, "done");
  expect(calls.toSorted()).toEqual(["a 1", "b 1", "long 1"]);
});

test("a delivery that was stored but reported as failed runs, even when no other delivery follows", async () => {
  const calls: string[] = [];
  await using bellhop = await dispatching({
    "user.created": ({ data, run }) => calls.push(`${data.id} ${run.attempt}`),
  });
  await bellhop.dispatcher.idle();
  const lost = await failCommits({ count: 1, durable: true }, () => bellhop.send("a").catch((error: unknown) => error));
  expect(lost).toBeInstanceOf(InboxUnavailable);
  await bellhop.reaches("a", "done");
  expect(calls).toEqual(["a 1"]);
});

test("a bug in recording an outcome is reported, and the run still ends", async () => {
  let failures = 1;
  await using bellhop = await dispatching(
    { "user.created": () => "done" },
    {
      wrap: (inbox) =>
        withOperations(inbox, {
          async finish(...args) {
            if (failures-- > 0) throw new Error("a bug");
            return inbox.finish(...args);
          },
        }),
    },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  expect(bellhop.troubles).toMatchObject([{ message: "a bug" }]);
});

test("an outcome that was stored but reported as failed is reported once", async () => {
  let failures = 1;
  await using bellhop = await dispatching(
    { "user.created": () => undefined },
    {
      wrap: (inbox) =>
        withOperations(inbox, {
          async finish(run, outcome) {
            const result = await inbox.finish(run, outcome);
            if (failures-- > 0) throw new InboxUnavailable(new Error("disk I/O error"));
            return result;
          },
        }),
    },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  await bellhop.dispatcher.idle();
  expect(bellhop.outcomes.map(({ outcome }) => outcome.kind)).toEqual(["done"]);
});
