// Pure decisions about a run after a failure or a crash: retried, exclusive or dead.

import { expect, test } from "bun:test";

import { afterCrash, nextAttempt } from "../../src/dispatch/retry.ts";
import type { Handler } from "../../src/handlers/loader.ts";
import type { ClaimedRun } from "../../src/inbox/inbox.ts";
import { type HandlerOptions } from "../../src/index.ts";
import { claimedRun, NOW } from "./attempting.ts";
import { tableOf } from "./dispatching.ts";

const handlerWith = (options: HandlerOptions): Pick<Handler, "options"> => ({ options });

test("a run is retried until its attempts are used up", () => {
  const after = (spent: number, options: HandlerOptions = {}, interrupted = 0) =>
    nextAttempt({ spent, interrupted }, handlerWith(options), new Error("no"), NOW);
  expect(after(0)).toMatchObject({ exclusive: false });
  expect(after(6)).toMatchObject({ exclusive: false });
  expect(after(7)).toEqual({ reason: "gave up after 8 attempts" });
  expect(after(0, { attempts: 1 })).toEqual({ reason: "gave up after 1 attempt" });
  expect(after(1, { attempts: 3 })).toMatchObject({ exclusive: false });
  expect(after(2, { attempts: 3 })).toEqual({ reason: "gave up after 3 attempts" });
});

test("the last attempt of a run that was ever interrupted is exclusive", () => {
  const after = (spent: number, interrupted: number) =>
    nextAttempt({ spent, interrupted }, handlerWith({ attempts: 4 }), new Error("no"), NOW);
  expect(after(1, 1)).toMatchObject({ exclusive: false });
  expect(after(2, 1)).toMatchObject({ exclusive: true });
  expect(after(2, 0)).toMatchObject({ exclusive: false });
});

test("an interrupted run is retried at once, and the second time after a delay", () => {
  const handler = tableOf({ "user.created": () => 1 }).get("user.created");
  expect(afterCrash(claimedRun(), handler, NOW)).toEqual({ kind: "interrupted", delay: 0, exclusive: false });
  const second = afterCrash(claimedRun({ spent: 1, interrupted: 1 }), handler, NOW);
  expect(second).toMatchObject({ kind: "interrupted", exclusive: false });
  expect((second as { delay: number }).delay).toBeWithin(4_000, 6_001);
});

test("a run is dead after a crash only when its attempt was exclusive", () => {
  const handler = tableOf({ "user.created": [{ attempts: 3 }, () => 1] }).get("user.created");
  const crash = (more: Partial<ClaimedRun>) => afterCrash(claimedRun(more), handler, NOW);
  expect(crash({ spent: 0 })).toMatchObject({ kind: "interrupted", exclusive: false });
  expect(crash({ spent: 1, interrupted: 1 })).toMatchObject({ kind: "interrupted", exclusive: true });
  expect(crash({ spent: 2, interrupted: 2 })).toMatchObject({ kind: "interrupted", exclusive: true });
  expect(crash({ spent: 1, interrupted: 1, exclusive: true })).toMatchObject({ kind: "interrupted", exclusive: true });
  expect(crash({ spent: 2, interrupted: 2, exclusive: true })).toMatchObject({
    kind: "dead",
    reason: expect.stringContaining("died 3 times"),
    record: { startedAt: NOW, error: { name: "Crash" } },
  });
});

test("a run with a single attempt is not dead after one crash", () => {
  const handler = tableOf({ "user.created": [{ attempts: 1 }, () => 1] }).get("user.created");
  expect(afterCrash(claimedRun(), handler, NOW)).toEqual({ kind: "interrupted", delay: 0, exclusive: true });
  expect(afterCrash(claimedRun({ spent: 1, interrupted: 1, exclusive: true }), handler, NOW)).toMatchObject({
    kind: "dead",
  });
});

test("a run whose handler file was removed is retried after a crash", () => {
  expect(afterCrash(claimedRun(), undefined, NOW)).toMatchObject({ kind: "interrupted", delay: 0 });
});

test("a run that is interrupted repeatedly waits at most 24 s", () => {
  const handler = tableOf({ "user.created": [{ attempts: 50 }, () => 1] }).get("user.created");
  for (const interrupted of [2, 3, 20]) {
    const outcome = afterCrash(claimedRun({ spent: interrupted, interrupted }), handler, NOW);
    if (outcome.kind !== "interrupted") throw new Error(outcome.kind);
    expect(outcome.delay).toBeGreaterThan(15_000);
    expect(outcome.delay).toBeLessThanOrEqual(24_000);
  }
});

test("an exclusive run stays exclusive when its file does not load after the crash", () => {
  expect(afterCrash(claimedRun({ spent: 1, interrupted: 1, exclusive: true }), undefined, NOW)).toMatchObject({
    exclusive: true,
  });
  expect(afterCrash(claimedRun({ spent: 1, interrupted: 1 }), undefined, NOW)).toMatchObject({ exclusive: false });
});
