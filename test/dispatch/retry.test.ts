import { expect, test } from "bun:test";

import fc from "fast-check";

import { delayUntil, isInnocent, retryDelay } from "../../src/dispatch/retry.ts";
import { formatDuration, parseDuration } from "../../src/duration.ts";

const HOUR = 3_600_000;

test("a failed run is retried after 5 s, 20 s, 80 s and so on, at most 12 hours", () => {
  const noJitter = () => 0.5;
  const delays = Array.from({ length: 9 }, (_, index) => retryDelay(index + 1, noJitter));
  expect(delays.map((delay) => delay / 1_000)).toEqual([5, 20, 80, 320, 1_280, 5_120, 20_480, 43_200, 43_200]);
});

test("delays vary by 20 % each way, so that runs that failed together are retried apart", () => {
  expect([retryDelay(1, () => 0), retryDelay(1, () => 1)]).toEqual([4_000, 6_000]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2_000 }), fc.double({ min: 0, max: 1, noNaN: true }), (failed, random) => {
      const plain = Math.min(5_000 * 4 ** (failed - 1), 12 * HOUR);
      const delay = retryDelay(failed, () => random);
      expect(Number.isInteger(delay)).toBe(true);
      expect(delay).toBeWithin(plain * 0.8 - 1, plain * 1.2 + 1);
    }),
  );
  expect(new Set(Array.from({ length: 20 }, () => retryDelay(3))).size).toBeGreaterThan(10);
});

test("accepts a retry time in milliseconds, as a duration or as a Date", () => {
  const now = Date.UTC(2026, 0, 1);
  expect(delayUntil(1_500, now)).toBe(1_500);
  expect(delayUntil("30s", now)).toBe(30_000);
  expect(delayUntil(new Date(now + 60_000), now)).toBe(60_000);
});

test("a retry time is a whole number of milliseconds that a database can store", () => {
  expect(delayUntil(1_500.25, 0)).toBe(1_501);
  expect(delayUntil("0.0001s", 0)).toBe(1);
  for (const far of [Number.MAX_VALUE, new Date(8.64e15)]) {
    expect(delayUntil(far, Date.now())).toBeGreaterThan(50 * 365 * 24 * HOUR);
    expect(Number.isSafeInteger(Date.now() + delayUntil(far, Date.now()))).toBe(true);
  }
});

test("a retry time in the past means now", () => {
  expect(delayUntil(new Date(0), 1_000)).toBe(0);
  expect(delayUntil(0, 1_000)).toBe(0);
});

test.each([[Number.NaN], [Number.POSITIVE_INFINITY], [-1], ["soon"], [""], [new Date("never")], [undefined], [null]])(
  "rejects %p as a retry time",
  (when) => {
    expect(() => delayUntil(when as never, 0)).toThrow(TypeError);
  },
);

test.each([
  ["500ms", 500],
  ["30s", 30_000],
  ["1.5s", 1_500],
  ["5m", 300_000],
  ["2h", 7_200_000],
  ["1d", 86_400_000],
  [" 10 s ", 10_000],
  [250, 250],
] as const)("parses %p as %d milliseconds", (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds);
});

test.each([["30"], ["s"], ["-5s"], ["5 years"], ["1e3s"], ["5s5s"], [{}]])(
  "rejects %p as a duration, with a correct example",
  (text) => {
    expect(() => parseDuration(text as string)).toThrow('"30s"');
  },
);

test("formats durations with their largest unit", () => {
  expect([0, 850, 5_000, 1_250, 20 * 60_000, 12 * HOUR].map(formatDuration)).toEqual([
    "0 ms",
    "850 ms",
    "5 s",
    "1.3 s",
    "20 min",
    "12 h",
  ]);
});

test("a failure outside the handler costs no attempt, unless its connection is lost repeatedly", () => {
  const at = (attempt: number) => ({ attempt, spent: 0 });
  for (const hindrance of ["unreachable", "void"] as const) expect(isInnocent(at(999), hindrance)).toBe(true);
  expect([isInnocent(at(20), "lost"), isInnocent(at(21), "lost")]).toEqual([true, false]);
  // Attempts that count against the handler are not lost connections.
  expect(isInnocent({ attempt: 23, spent: 3 }, "lost")).toBe(true);
  expect(isInnocent(at(1), undefined)).toBe(false);
});
