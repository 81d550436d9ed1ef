// A run that was interrupted too often goes alone, so that a crash now can only be its own.

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Inbox } from "../../src/inbox/inbox.ts";
import { at } from "../inbox/contract.ts";
import { dispatching, message, runsFor, tableOf } from "./dispatching.ts";

// Somebody else may use the machine as well.
setDefaultTimeout(20_000);

/** In an earlier process, `suspect` was interrupted; it has to go alone, after `delay` milliseconds. */
function interrupted(table: ReturnType<typeof tableOf>, delay: number) {
  return async (inbox: Inbox) => {
    await inbox.accept(message("suspect", { type: "session.created" }), runsFor(table, "session.created"));
    const { tickets } = await inbox.claim("a dead process", new Map([["session.created", 1]]));
    await inbox.settle(tickets[0]!, { kind: "interrupted", delay, alone: true });
  };
}

test("nothing begins beside it, also of what comes meanwhile, and that goes afterwards", async () => {
  let isAlone = false;
  let beside = 0;
  const functions = {
    "session.created": async () => {
      isAlone = true;
      await Bun.sleep(200);
      isAlone = false;
    },
    "user.created": () => void (beside += Number(isAlone)),
  };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, { before: interrupted(table, 0), table: () => table });
  await bellhop.reaches("suspect", "running");
  await bellhop.send("msg_1");
  await bellhop.reaches("suspect", "done");
  await bellhop.reaches("msg_1", "done");
  expect(beside).toBe(0);
});

test("deliveries that come all the time keep neither it nor anything else waiting", async () => {
  const functions = { "session.created": () => undefined, "user.created": () => Bun.sleep(60) };
  const table = tableOf(functions);
  await using bellhop = await dispatching(functions, { before: interrupted(table, 300), table: () => table });
  let number = 0;
  const stream = setInterval(() => void bellhop.send(`msg_${(number += 1)}`), 20);
  await Bun.sleep(500);
  await bellhop.send("first", { subject: "user_1", at: at(1) });
  await bellhop.send("second", { subject: "user_1", at: at(2) });
  // Both while they come: there is always one that runs.
  await bellhop.reaches("suspect", "done");
  await bellhop.reaches("second", "done");
  clearInterval(stream);
  await bellhop.dispatcher.idle();
});
