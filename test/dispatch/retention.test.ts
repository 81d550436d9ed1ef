// What retention costs others, and what others cost it.

import { expect, setDefaultTimeout, test } from "bun:test";

import { startRetention } from "../../src/dispatch/retention.ts";
import { at } from "../inbox/contract.ts";
import { dispatching } from "./dispatching.ts";

// Somebody else may use the machine as well.
setDefaultTimeout(20_000);

const DAY_MS = 86_400_000;

test("having waited for a handler's transaction, it neither pauses for long nor holds up a shutdown", async () => {
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
  await using bellhop = await dispatching({
    "user.created": async ({ db }) => void (await db`select 1`),
    "session.created": async ({ db }) => {
      await db`select 1`;
      await held;
    },
  });
  for (let number = 0; number < 30; number += 1) {
    await bellhop.send(`old_${number}`, { receivedAt: at(1) });
    await bellhop.reaches(`old_${number}`, "done");
  }
  await bellhop.send("holds", { type: "session.created", receivedAt: at(1) + 100 * DAY_MS });
  await bellhop.reaches("holds", "running");
  const { inbox, effects } = bellhop;
  const retention = startRetention({ inbox, effects, retentionDays: 90 });
  await Bun.sleep(500);
  letGo();
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
