import { expect, test } from "bun:test";

import { createTimeouts as createTimeoutsOf } from "../../src/dispatch/timeout.ts";

const createTimeouts = (shutdown = new AbortController().signal) => createTimeoutsOf(shutdown);

/** Holds the thread, as a handler does that computes or calls something synchronous. */
function block(milliseconds: number) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/** How long until it expires, on the clock on the wall. */
function expiry(limit: number, timeouts = createTimeouts()): Promise<number> {
  const began = performance.now();
  const { promise, resolve } = Promise.withResolvers<number>();
  const timeout = timeouts.start(limit, () => {
    resolve(performance.now() - began);
    timeout.cancel();
  });
  return promise;
}

test("it expires when its time is over, and not before", async () => {
  expect(await expiry(120)).toBeWithin(119, 400);
});

test("what was called off does not expire", async () => {
  let expired = false;
  createTimeouts()
    .start(20, () => (expired = true))
    .cancel();
  await Bun.sleep(60);
  expect(expired).toBe(false);
});

test("time in which the whole process stood still does not count", async () => {
  const waiting = expiry(300);
  await Bun.sleep(20);
  block(600);
  // 600 ms are gone, of which at most the slack counts: some 180 ms are left.
  expect(await waiting).toBeWithin(750, 1_500);
});

test("a stall before it began counts neither for nor against it", async () => {
  const timeouts = createTimeouts();
  await expiry(10, timeouts);
  block(200);
  expect(await expiry(100, timeouts)).toBeWithin(99, 400);
});

test("many at a time expire each in its own time", async () => {
  const timeouts = createTimeouts();
  const limits = [150, 30, 90, 60];
  const order: number[] = [];
  await Promise.all(limits.map((limit) => expiry(limit, timeouts).then(() => order.push(limit))));
  expect(order).toEqual(limits.toSorted((a, b) => a - b));
});

test("a limit longer than a timer can count does not expire at once", async () => {
  let expired = false;
  const timeout = createTimeouts().start(30 * 86_400_000, () => (expired = true));
  await Bun.sleep(60);
  timeout.cancel();
  expect(expired).toBe(false);
});

test("time in which it is paused does not count", async () => {
  const began = performance.now();
  const { promise, resolve } = Promise.withResolvers<number>();
  const timeout = createTimeouts().start(100, () => resolve(performance.now() - began));
  await Bun.sleep(50);
  const goOn = timeout.pause();
  await Bun.sleep(200);
  goOn();
  expect(await promise).toBeWithin(295, 600);
  timeout.cancel();
});

test("what was called off while it was paused does not expire", async () => {
  let expired = false;
  const timeout = createTimeouts().start(20, () => (expired = true));
  const goOn = timeout.pause();
  timeout.cancel();
  goOn();
  await Bun.sleep(60);
  expect(expired).toBe(false);
});

test("a shutdown ends all that run, also what is paused, and nothing twice", async () => {
  const shutdown = new AbortController();
  const timeouts = createTimeouts(shutdown.signal);
  const ends: string[] = [];
  timeouts.start(20, (why) => ends.push(why));
  timeouts.start(10_000, (why) => ends.push(`paused, ${why}`)).pause();
  timeouts.start(10_000, (why) => ends.push(`called off, ${why}`)).cancel();
  shutdown.abort();
  await Bun.sleep(120);
  expect(ends).toEqual(["shutdown", "paused, shutdown"]);
});
