import { expect, test } from "bun:test";

import { learnRhythm } from "../../src/monitor/rhythm.ts";
import { seeded } from "../random.ts";
import { DAY, HOUR, MINUTE, START } from "./running.ts";

type Rate = (time: number) => number;

const isWorkday = (time: number) => {
  const at = new Date(time);
  return at.getUTCDay() % 6 !== 0 && at.getUTCHours() >= 8 && at.getUTCHours() < 18;
};
const STEADY: Rate = () => 1_000;
const OFFICE: Rate = (time) => (isWorkday(time) ? 40 : 0);
/** Three sign-ups a day, at any time. */
const SMALL: Rate = () => 0.5;

/** Deliveries in clusters of four, as sign-ups cause them, at random times. */
function simulate(rate: Rate, from: number, until: number, seed: number) {
  const random = seeded(seed);
  const hours = new Map<number, number>();
  const times: number[] = [];
  for (let time = from; time < until; time += 5 * MINUTE) {
    const limit = Math.exp(-rate(time) / 12 / 4);
    // Knuth's way to Poisson's distribution.
    for (let product = random(); product > limit; product *= random()) {
      times.push(time);
      const hour = Math.floor(time / HOUR) * HOUR;
      hours.set(hour, (hours.get(hour) ?? 0) + 4);
    }
  }
  return { hours, times };
}

const steadyHours = (rate: Rate, weeks: number) =>
  new Map(
    Array.from({ length: weeks * 168 }, (_, index): [number, number] => [
      START + index * HOUR,
      rate(START + index * HOUR),
    ]),
  );

/** After how long nothing has come from `from` on is that silence? */
function reportedAfter(rate: Rate, weeks: number, from: number): number {
  const rhythm = learnRhythm(steadyHours(rate, weeks), START + weeks * 7 * DAY)!;
  let minutes = 0;
  while (!rhythm.isSilent(rhythm.expected(from, from + minutes * MINUTE))) minutes += 1;
  return minutes * MINUTE;
}

const AFTER_FOUR_WEEKS = START + 28 * DAY;

test("nothing is learned before a week has passed", () => {
  expect(learnRhythm(new Map(), START)).toBeUndefined();
  expect(learnRhythm(steadyHours(STEADY, 1), START + 6 * DAY)).toBeUndefined();
  expect(learnRhythm(steadyHours(STEADY, 1), START + 7 * DAY)).toBeDefined();
});

test("counts what is expected, in parts of hours", () => {
  const rhythm = learnRhythm(steadyHours(OFFICE, 4), AFTER_FOUR_WEEKS)!;
  const [monday] = [AFTER_FOUR_WEEKS];
  expect(rhythm.expected(monday, monday + DAY)).toBe(400);
  expect(rhythm.expected(monday + 7.5 * HOUR, monday + 8.25 * HOUR)).toBe(10);
  expect(rhythm.expected(monday + 5 * DAY, monday + 7 * DAY)).toBe(0);
});

test("a busy site is silent within minutes, a small one within days", () => {
  expect(reportedAfter(STEADY, 4, AFTER_FOUR_WEEKS)).toBeLessThan(10 * MINUTE);
  const small = reportedAfter(SMALL, 4, AFTER_FOUR_WEEKS);
  expect(small).toBeGreaterThan(DAY);
  expect(small).toBeLessThan(6 * DAY);
});

test("a weekend is not silence, and a Monday without deliveries is", () => {
  const friday = AFTER_FOUR_WEEKS + 4 * DAY + 18 * HOUR;
  const monday = AFTER_FOUR_WEEKS + 7 * DAY + 8 * HOUR;
  const after = friday + reportedAfter(OFFICE, 4, friday);
  expect(after).toBeGreaterThan(monday);
  expect(after).toBeLessThan(monday + 3 * HOUR);
});

test("an import of many users in one hour does not hide the rhythm", () => {
  const hours = steadyHours(OFFICE, 4);
  hours.set(START + 100 * HOUR, 1_000_000);
  const rhythm = learnRhythm(hours, AFTER_FOUR_WEEKS)!;
  const tuesday = AFTER_FOUR_WEEKS + DAY;
  expect(rhythm.isSilent(rhythm.expected(tuesday, tuesday + 14 * HOUR))).toBe(true);
  // The same hour of the next week.
  expect(rhythm.isSilent(rhythm.expected(AFTER_FOUR_WEEKS + 100 * HOUR, AFTER_FOUR_WEEKS + 101 * HOUR))).toBe(false);
});

test.each([
  ["office hours", OFFICE],
  ["a small site", SMALL],
])(
  "random deliveries of half a year cause no false report: %s",
  (_, rate) => {
    for (let seed = 1; seed <= 8; seed += 1) {
      const { hours, times } = simulate(rate, START, START + 182 * DAY, seed);
      for (const [index, time] of times.entries()) {
        const last = times[index - 1];
        if (last === undefined || time - last < 35 * MINUTE || time < START + 8 * DAY) continue;
        const known = new Map([...hours].filter(([start]) => start > last - 35 * DAY && start <= last));
        const rhythm = learnRhythm(known, last);
        const expected = rhythm?.expected(last, time) ?? 0;
        expect(rhythm?.isSilent(expected) ?? false, `seed ${seed}, after ${(time - last) / HOUR} h`).toBe(false);
      }
    }
  },
  60_000,
);
