// Retention beside handlers that hold the database.

import { expect, setDefaultTimeout, test } from "bun:test";

import { startRetention } from "../../src/dispatch/retention.ts";
import { at, createClocks } from "../inbox/box.ts";
import { dispatching } from "./dispatching.ts";

// Other processes may use the machine as well.
setDefaultTimeout(20_000);

const DAY_MS = 86_400_000;

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
  await bellhop.inbox.expired(90, 1);
  clocks.pass(100 * DAY_MS);
  await bellhop.send("holds", { type: "session.created", receivedAt: at(1) + 100 * DAY_MS });
  await bellhop.reaches("holds", "running");
  const { inbox, effects } = bellhop;
  const retention = startRetention({ inbox, effects, retentionDays: 90 });
  await Bun.sleep(500);
  release();
  await bellhop.reaches("holds", "done");
  const began = performance.now();
  // Three batches, and their pauses.
  while (await inbox.get("old_29")) {
    expect(performance.now() - began).toBeLessThan(5_000);
    await Bun.sleep(20);
  }
  await retention.stop();
  expect(performance.now() - began).toBeLessThan(5_000);
});
