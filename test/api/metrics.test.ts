import { expect, test } from "bun:test";

import { createMetrics, type EndedAttempt } from "../../src/api/metrics.ts";

const MINUTE_MS = 60_000;
const START = 1_000_000 * MINUTE_MS;

const attempt = (more: Partial<EndedAttempt> = {}): EndedAttempt => ({
  handler: "user.created",
  delivery: "msg_1",
  receivedAt: START,
  isReplay: false,
  isFirst: true,
  isLast: true,
  failed: false,
  startedAt: START + 5,
  took: 10,
  ...more,
});

test("deliveries and failures are counted per minute, the newest last, and forgotten after an hour", () => {
  const metrics = createMetrics();
  metrics.delivery(START);
  metrics.delivery(START + MINUTE_MS - 1);
  metrics.delivery(START + MINUTE_MS);
  metrics.ended(attempt({ failed: true }), START + MINUTE_MS);
  const hour = metrics.hour(START + MINUTE_MS);
  expect(hour.since).toBe(START - 58 * MINUTE_MS);
  expect(hour.deliveries).toHaveLength(60);
  expect(hour.deliveries.slice(-3)).toEqual([0, 2, 1]);
  expect(hour.failures.slice(-2)).toEqual([0, 1]);
  expect(metrics.hour(START + 59 * MINUTE_MS).deliveries.slice(0, 3)).toEqual([2, 1, 0]);
  expect(metrics.hour(START + 60 * MINUTE_MS).deliveries.slice(0, 3)).toEqual([1, 0, 0]);
  expect(metrics.hour(START + 200 * MINUTE_MS).deliveries.every((count) => count === 0)).toBe(true);
});

test("the time from receipt to end covers finished runs, and no replays", () => {
  const metrics = createMetrics();
  expect(metrics.hour(START).p50.at(-1)).toBeNull();
  metrics.ended(attempt({ isLast: false, failed: true }), START + 9_000);
  metrics.ended(attempt({ isReplay: true, receivedAt: 0 }), START + 9_000);
  expect(metrics.hour(START).p50.at(-1)).toBeNull();
  metrics.ended(attempt(), START + 12);
  expect(metrics.hour(START)).toMatchObject({ p50: expect.arrayContaining([12]), p99: expect.arrayContaining([12]) });
});

test("the queue age is the longest wait of a first attempt or the last measured age, whichever is higher", () => {
  const metrics = createMetrics();
  metrics.ended(attempt({ startedAt: START + 700 }), START + 800);
  metrics.ended(attempt({ startedAt: START + 50_000, isFirst: false }), START + 800);
  metrics.ended(attempt({ startedAt: START + 50_000, isReplay: true }), START + 800);
  metrics.queue(300, START);
  expect(metrics.hour(START).queueAge.at(-1)).toBe(700);
  metrics.queue(900, START);
  expect(metrics.hour(START).queueAge.at(-1)).toBe(900);
});

test("counts runs, failures, durations and the last error per handler", () => {
  const metrics = createMetrics();
  expect(metrics.handler("user.created")).toEqual({ ran: 0, failed: 0, p50: null, p99: null, lastError: null });
  for (let n = 0; n < 99; n += 1) metrics.ended(attempt(), START);
  metrics.ended(attempt({ failed: true, took: 10_000, delivery: "msg_2", message: "x".repeat(10_000) }), START + 1);
  const { lastError, ...counts } = metrics.handler("user.created");
  expect(counts).toEqual({ ran: 100, failed: 1, p50: 10, p99: 10 });
  expect(lastError).toEqual({ at: START + 1, delivery: "msg_2", message: "x".repeat(500) });
  expect(metrics.handler("user.updated").ran).toBe(0);
});

test("quantiles are within 1 %, from tenths of a millisecond to weeks", () => {
  for (const value of [0, 0.4, 1, 7.9, 15, 16, 100, 1_234, 60_000, 3_600_000, 1_000_000_000])
    expect(Math.abs(quantileOf([value], "p50") - value), String(value)).toBeLessThanOrEqual(value * 0.01 + 0.05);
  const many = Array.from({ length: 1_000 }, (_, index) => index + 1);
  expect(Math.abs(quantileOf(many, "p50") / 500 - 1)).toBeLessThan(0.01);
  expect(Math.abs(quantileOf(many, "p99") / 990 - 1)).toBeLessThan(0.01);
});

test("negative durations count as 0, and huge ones as weeks", () => {
  expect(quantileOf([-5], "p50")).toBe(0);
  expect(quantileOf([1e300], "p99")).toBeGreaterThan(1_000_000_000);
});

function quantileOf(durations: readonly number[], quantile: "p50" | "p99"): number {
  const metrics = createMetrics();
  for (const took of durations) metrics.ended(attempt({ took }), START);
  return metrics.handler("user.created")[quantile] ?? Number.NaN;
}

test("memory does not grow with the number of events and handlers", () => {
  const metrics = createMetrics();
  const addEvents = (from: number, to: number) => {
    for (let n = from; n < to; n += 1) {
      metrics.delivery(START + n * 10);
      metrics.ended(attempt({ handler: `handler ${n % 2_000}` }), START + n * 10);
    }
  };
  addEvents(0, 400_000);
  Bun.gc(true);
  const before = process.memoryUsage().heapUsed;
  addEvents(400_000, 1_000_000);
  Bun.gc(true);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_000_000);
});
