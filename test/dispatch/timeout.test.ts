import { expect, test } from "bun:test";

import { createTimeouts as createTimeoutsOf } from "../../src/dispatch/timeout.ts";

const createTimeouts = (shutdown = new AbortController().signal) => createTimeoutsOf(shutdown);

/** Blocks the thread, like a handler that computes or makes a synchronous call. */
function block(milliseconds: number) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/** The milliseconds until a timeout of `limit` milliseconds expires, stalls included. */
function expiry(limit: number, timeouts = createTimeouts()): Promise<number> {
  const began = performance.now();
  const { promise, resolve } = Promise.withResolvers<number>();
  const timeout = timeouts.start(limit, () => {
    resolve(performance.now() - began);
    timeout.cancel();
  });
  return promise;
}

test("a timeout expires after its limit and not before", async () => {
  expect(await expiry(120)).toBeWithin(119, 5_000);
});

test("a cancelled timeout does not expire", async () => {
  let expired = false;
  createTimeouts()
    .start(20, () => (expired = true))
    .cancel();
  await Bun.sleep(60);
  expect(expired).toBe(false);
});

test("time in which the thread is blocked does not count", async () => {
  const waiting = expiry(300);
  await Bun.sleep(20);
  block(600);
  // At most 100 ms of the 600 ms count, so that about 180 ms remain.
  expect(await waiting).toBeWithin(750, 5_000);
});

test("a stall before the start neither shortens nor extends a timeout", async () => {
  const timeouts = createTimeouts();
  await expiry(10, timeouts);
  block(1_000);
  expect(await expiry(100, timeouts)).toBeWithin(99, 1_000);
});

test("concurrent timeouts expire in the order of their limits", async () => {
  const timeouts = createTimeouts();
  const limits = [150, 30, 90, 60];
  const order: number[] = [];
  await Promise.all(limits.map((limit) => expiry(limit, timeouts).then(() => order.push(limit))));
  expect(order).toEqual(limits.toSorted((a, b) => a - b));
});

test("a limit that is too long for a timer does not expire at once", async () => {
  let expired = false;
  const timeout = createTimeouts().start(30 * 86_400_000, () => (expired = true));
  await Bun.sleep(60);
  timeout.cancel();
  expect(expired).toBe(false);
});

test("paused time does not count", async () => {
  const began = performance.now();
  const { promise, resolve } = Promise.withResolvers<number>();
  const timeout = createTimeouts().start(100, () => resolve(performance.now() - began));
  await Bun.sleep(50);
  const resume = timeout.pause();
  await Bun.sleep(200);
  resume();
  expect(await promise).toBeWithin(295, 5_000);
  timeout.cancel();
});

test("a timeout that is cancelled while it is paused does not expire", async () => {
  let expired = false;
  const timeout = createTimeouts().start(20, () => (expired = true));
  const resume = timeout.pause();
  timeout.cancel();
  resume();
  await Bun.sleep(60);
  expect(expired).toBe(false);
});

test("a shutdown ends every running or paused timeout once", async () => {
  const shutdown = new AbortController();
  const timeouts = createTimeouts(shutdown.signal);
  const reasons: string[] = [];
  timeouts.start(20, (why) => reasons.push(why));
  timeouts.start(10_000, (why) => reasons.push(`paused, ${why}`)).pause();
  timeouts.start(10_000, (why) => reasons.push(`cancelled, ${why}`)).cancel();
  shutdown.abort();
  await Bun.sleep(120);
  expect(reasons).toEqual(["shutdown", "paused, shutdown"]);
});
