// The time of an event, which orders the runs of a subject.

import { expect, test } from "bun:test";

import { eventTime } from "../../src/receive/event.ts";

const NOW = Date.UTC(2026, 0, 1, 12);
const EARLIER = NOW - 3_600_000;
const seconds = (milliseconds: number) => milliseconds / 1_000;

test("the time of an event is its timestamp", () => {
  const data = { updated_at: EARLIER + 1, created_at: EARLIER + 2 };
  expect(eventTime({ timestamp: EARLIER, data }, NOW)).toBe(EARLIER);
});

test("without a timestamp, it is updated_at, else created_at, else the time of the receipt", () => {
  expect(eventTime({ data: { updated_at: EARLIER, created_at: EARLIER - 1 } }, NOW)).toBe(EARLIER);
  expect(eventTime({ data: { created_at: EARLIER } }, NOW)).toBe(EARLIER);
  expect(eventTime({ data: {} }, NOW)).toBe(NOW);
});

test("values under 10^11 are seconds", () => {
  expect(eventTime({ timestamp: seconds(EARLIER), data: {} }, NOW)).toBe(EARLIER);
  expect(eventTime({ data: { updated_at: seconds(EARLIER) } }, NOW)).toBe(EARLIER);
  // A Dashboard example of 2021, in seconds.
  expect(eventTime({ timestamp: 1_614_768_000, data: {} }, NOW)).toBe(1_614_768_000_000);
  expect(eventTime({ timestamp: 99_999_999_999, data: {} }, Number.MAX_SAFE_INTEGER)).toBe(99_999_999_999_000);
  expect(eventTime({ timestamp: 100_000_000_000, data: {} }, NOW)).toBe(100_000_000_000);
});

test("fractions of a millisecond are dropped", () => {
  expect(eventTime({ timestamp: EARLIER + 0.4, data: {} }, NOW)).toBe(EARLIER);
  expect(eventTime({ timestamp: seconds(EARLIER) + 0.0004, data: {} }, NOW)).toBe(EARLIER);
});

test("a timestamp more than five minutes in the future is replaced with the time of the receipt", () => {
  const limit = NOW + 300_000;
  expect(eventTime({ timestamp: limit, data: {} }, NOW)).toBe(limit);
  expect(eventTime({ timestamp: limit + 1, data: {} }, NOW)).toBe(NOW);
  // Not with updated_at, which would order it before events that preceded it.
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
])("%p is not a time, so the next source is used", (invalid) => {
  expect(eventTime({ timestamp: invalid, data: { updated_at: invalid, created_at: EARLIER } }, NOW)).toBe(EARLIER);
  expect(eventTime({ timestamp: invalid, data: {} }, NOW)).toBe(NOW);
});
