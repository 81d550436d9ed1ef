import { expect, test } from "bun:test";

import { createDurations } from "../../src/monitor/durations.ts";

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 300, 1_800, 7_200];

function durationsOf(...all: number[]) {
  const durations = createDurations();
  for (const milliseconds of all) durations.record(milliseconds);
  return durations;
}

test("quantiles are at most 10 % too high and never too low, from microseconds to weeks", () => {
  for (const value of [0.001, 0.4, 1, 7.9, 15, 16, 101, 1_234, 60_000, 3_600_000, 1_000_000_000]) {
    const found = durationsOf(value).quantile(0.5)!;
    expect(found, String(value)).toBeGreaterThanOrEqual(value);
    expect(found, String(value)).toBeLessThanOrEqual(value * 1.1);
  }
  const many = durationsOf(...Array.from({ length: 1_000 }, (_, index) => index + 1));
  expect(many.quantile(0.5)).toBe(500);
  expect(many.quantile(0.99)).toBe(990);
  expect(many.quantile(0.999)).toBe(1_000);
  expect(createDurations().quantile(0.5)).toBeNull();
});

test("the limits of Prometheus are exact", () => {
  for (const seconds of SECONDS) {
    const durations = durationsOf(seconds * 1_000 - 0.001, seconds * 1_000, seconds * 1_000 + 0.001);
    // Microseconds are rounded, and above 100 of them a bucket is wider.
    expect(durations.within(seconds * 1_000), String(seconds)).toBe(2);
  }
});

test("negative durations count as 0, and huge ones as weeks", () => {
  const durations = durationsOf(-5, 1e300);
  expect(durations.within(0)).toBe(1);
  expect(durations.quantile(1)).toBeGreaterThan(3_000_000_000);
  expect(durations.count).toBe(2);
});

test("counts can be stored and added", () => {
  const one = durationsOf(1, 1, 250);
  const both = durationsOf(250, 99_000);
  both.add(JSON.parse(JSON.stringify(one.counts())));
  both.add({ "99999": 1, wrong: 1 });
  expect(both.count).toBe(5);
  expect([0.4, 0.8, 1].map((fraction) => both.quantile(fraction))).toEqual([1, 250, 99_000]);
  expect(both.sum).toBeCloseTo(250 + 99_000 + 252);
});
