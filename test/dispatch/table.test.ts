// Runs wait for a handler that does not load, and block no other runs.

import { expect, spyOn, test } from "bun:test";

import { InboxUnavailable } from "../../src/errors.ts";
import { at } from "../inbox/box.ts";
import { dispatching, message, runsFor, tableOf, withOperations } from "./dispatching.ts";

test("runs of a file that does not load wait for it and block no other runs", async () => {
  await using bellhop = await dispatching({ "user.created": "broken", "user.updated": () => "done" });
  await bellhop.send("created", { subject: "user_1" });
  await bellhop.send("updated", { subject: "user_1", type: "user.updated", at: at(1) });
  await bellhop.reaches("updated", "done");
  expect(await bellhop.run("created")).toMatchObject({ state: "waiting", parked: true, attempts: [] });
});

test("runs whose file was removed before the start wait for it and block no other runs", async () => {
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

test("runs of a removed handler wait until it is back, and run its new code", async () => {
  const calls: string[] = [];
  const original = tableOf({ "user.created": () => calls.push("first"), "user.updated": () => calls.push("updated") });
  const removed = tableOf({ "user.updated": () => calls.push("updated") });
  const restored = tableOf({ "user.created": () => calls.push("back"), "user.updated": () => calls.push("updated") });
  let table = original;
  await using bellhop = await dispatching({}, { table: () => table });
  table = removed;
  await bellhop.dispatcher.tableChanged();
  await bellhop.inbox.accept(message("created", { subject: "user_1" }), runsFor(original, "user.created"));
  await bellhop.dispatcher.tableChanged();
  await bellhop.send("updated", { subject: "user_1", type: "user.updated", at: at(5) });
  await bellhop.reaches("updated", "done");
  expect(await bellhop.run("created")).toMatchObject({ state: "waiting", parked: true, attempts: [] });
  table = restored;
  await bellhop.dispatcher.tableChanged();
  await bellhop.reaches("created", "done");
  expect(calls).toEqual(["updated", "back"]);
});

test("runs that are stored late, as of an earlier table, are parked and unparked within a minute", async () => {
  const { setInterval } = globalThis;
  // A minute is 50 ms here.
  const quick = ((call: () => void, ms: number) => setInterval(call, ms === 60_000 ? 50 : ms)) as typeof setInterval;
  using _ = spyOn(globalThis, "setInterval").mockImplementation(quick);
  await using bellhop = await dispatching({ "user.created": () => "done", "user.deleted": () => "done" });
  const earlier = tableOf({ "user.created": "broken", "user.updated": () => "done", "user.deleted": () => "done" });
  const subject = "user_1";
  await bellhop.inbox.accept(message("created", { subject }), runsFor(earlier, "user.created"));
  await bellhop.reaches("created", "done");
  const updated = message("updated", { subject, type: "user.updated", at: at(1) });
  await bellhop.inbox.accept(updated, runsFor(earlier, "user.updated"));
  await bellhop.send("deleted", { subject, type: "user.deleted", at: at(2) });
  await bellhop.reaches("deleted", "done");
  expect(await bellhop.run("updated")).toMatchObject({ state: "waiting", parked: true });
});

test("a change of the handler table that can't be stored is stored when the disk is back", async () => {
  // The first call happens at the start.
  let parks = 0;
  const withHandler = tableOf({ "user.created": () => "done" });
  let table = tableOf({});
  await using bellhop = await dispatching(
    {},
    {
      table: () => table,
      wrap: (inbox) =>
        withOperations(inbox, {
          async park(loaded) {
            parks += 1;
            if (parks === 2 || parks === 3) throw new InboxUnavailable(new Error("disk I/O error"));
            return inbox.park(loaded);
          },
        }),
    },
  );
  await bellhop.inbox.accept(message("msg_1"), [{ handler: "user.created", lane: "user", parked: true }]);
  table = withHandler;
  await bellhop.dispatcher.tableChanged();
  await bellhop.reaches("msg_1", "done");
  expect(parks).toBeGreaterThanOrEqual(4);
});
