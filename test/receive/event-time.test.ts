import { expect, test } from "bun:test";

import { eventTime } from "../../src/receive/event.ts";

const NOW = Date.UTC(2026, 0, 1, 12);
const EARLIER = NOW - 3_600_000;
const seconds = (milliseconds: number) => milliseconds / 1_000;

test("an event happened at its timestamp", () => {
  const data = { updated_at: EARLIER + 1, created_at: EARLIER + 2 };
  expect(eventTime({ timestamp: EARLIER, data }, NOW)).toBe(EARLIER);
});

test("without a timestamp it happened when its object was updated, else when it was created, else now", () => {
  expect(eventTime({ data: { updated_at: EARLIER, created_at: EARLIER - 1 } }, NOW)).toBe(EARLIER);
  expect(eventTime({ data: { created_at: EARLIER } }, NOW)).toBe(EARLIER);
  expect(eventTime({ data: {} }, NOW)).toBe(NOW);
});

test("seconds and milliseconds are told apart", () => {
  expect(eventTime({ timestamp: seconds(EARLIER), data: {} }, NOW)).toBe(EARLIER);
  expect(eventTime({ data: { updated_at: seconds(EARLIER) } }, NOW)).toBe(EARLIER);
  // The Dashboard's example of 2021, in seconds.
  expect(eventTime({ timestamp: 1_614_768_000, data: {} }, NOW)).toBe(1_614_768_000_000);
  expect(eventTime({ timestamp: 99_999_999_999, data: {} }, Number.MAX_SAFE_INTEGER)).toBe(99_999_999_999_000);
  expect(eventTime({ timestamp: 100_000_000_000, data: {} }, NOW)).toBe(100_000_000_000);
});

test("a fraction of a millisecond does not make an order", () => {
  expect(eventTime({ timestamp: EARLIER + 0.4, data: {} }, NOW)).toBe(EARLIER);
  expect(eventTime({ timestamp: seconds(EARLIER) + 0.0004, data: {} }, NOW)).toBe(EARLIER);
});

test("up to five minutes ahead of us is believed; beyond, it happened when it came", () => {
  const limit = NOW + 300_000;
  expect(eventTime({ timestamp: limit, data: {} }, NOW)).toBe(limit);
  expect(eventTime({ timestamp: limit + 1, data: {} }, NOW)).toBe(NOW);
  // Not the object's own time: that would put it before events that it came after.
  expect(eventTime({ timestamp: limit + 1, data: { updated_at: EARLIER } }, NOW)).toBe(NOW);
  expect(eventTime({ timestamp: Number.MAX_VALUE, data: {} }, NOW)).toBe(NOW);
});

test.each([
  [null],
  ["2026-01-01"],
  [""],
  [0],
  [-5],
  [Number.NaN],
  [Number.POSITIVE_INFINITY],
  [true],
  [{}],
  [[EARLIER]],
])("%p is no time: the next source is asked", (nonsense) => {
  expect(eventTime({ timestamp: nonsense, data: { updated_at: nonsense, created_at: EARLIER } }, NOW)).toBe(EARLIER);
  expect(eventTime({ timestamp: nonsense, data: {} }, NOW)).toBe(NOW);
});
