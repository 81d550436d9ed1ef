// Retention while handlers hold the database.

import { expect, setDefaultTimeout, test } from "bun:test";

import { startRetention } from "../../src/upkeep/retention.ts";
import { dispatching } from "../dispatch/dispatching.ts";
import { at, createClocks, DAY } from "../inbox/box.ts";
import { until } from "../until.ts";

// The machine may be slow, because other processes use it too.
setDefaultTimeout(20_000);

test("after waiting for a handler's transaction, retention neither pauses for long nor delays a shutdown", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const clocks = createClocks();
  const functions: Parameters<typeof dispatching>[0] = {
    "user.created": async ({ db }) => void (await db`select 1`),
    "session.created": async ({ db }) => {
      await db`select 1`;
      await held;
    },
  };
  await using bellhop = await dispatching(functions, { clocks });
  for (let number = 0; number < 30; number += 1) {
    await bellhop.send(`old_${number}`, { receivedAt: at(1) });
    await bellhop.reaches(`old_${number}`, "done");
  }
  await bellhop.inbox.retention.next(90, 1);
  clocks.pass(100 * DAY);
  await bellhop.send("holds", { type: "session.created", receivedAt: at(1) + 100 * DAY });
  await bellhop.reaches("holds", "running");
  const { inbox, effects } = bellhop;
  const retention = startRetention({ inbox, effects, retentionDays: 90 });
  await Bun.sleep(500);
  release();
  await bellhop.reaches("holds", "done");
  const began = performance.now();
  // Three batches with their pauses.
  await until("all old deliveries to be deleted", async () => (await inbox.get("old_29")) === null, 5_000);
  await retention.stop();
  expect(performance.now() - began).toBeLessThan(5_000);
});
