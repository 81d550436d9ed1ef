import { expect, test } from "bun:test";

import { createHistory } from "../../src/monitor/history.ts";
import { createMetrics } from "../../src/monitor/metrics.ts";
import { dead, done, MINUTE, retry, run, START } from "./running.ts";

function metricsAt(at = START) {
  const clock = { at };
  const now = () => clock.at;
  const history = createHistory({ inbox: { rollups: { list: async () => [], save: async () => {} } }, now });
  return { clock, history, ...createMetrics(history, now) };
}

test("counts runs, failures, durations and the last error of each handler", () => {
  const metrics = metricsAt();
  expect(metrics.handler("user.created")).toEqual({ ran: 0, failed: 0, p50: null, p99: null, lastError: null });
  for (let n = 0; n < 99; n += 1) metrics.ended(run(), done());
  metrics.clock.at += 1;
  const failed = run({ delivery: { ...run().delivery, id: "msg_2" } });
  metrics.ended(failed, retry("x".repeat(10_000), { took: 10_000 }));
  const { lastError, ...counts } = metrics.handler("user.created");
  expect(counts).toEqual({ ran: 100, failed: 1, p50: 10, p99: 10 });
  expect(lastError).toEqual({ at: START + 1, delivery: "msg_2", message: "x".repeat(500) });
  expect(metrics.handler("user.updated").ran).toBe(0);
});

test("an outage, a shutdown and a skipped run are counted as such, and are not failures", () => {
  const metrics = metricsAt();
  metrics.ended(run(), { kind: "postponed", record: { startedAt: START, took: 1 }, delay: 1 });
  metrics.ended(run(), { kind: "released" });
  metrics.ended(run(), { kind: "interrupted", delay: 1, exclusive: false });
  metrics.ended(run(), { kind: "skipped", record: { startedAt: START, took: 1 }, reason: "stale" });
  metrics.ended(run(), dead);
  expect(metrics.handler("user.created")).toMatchObject({ ran: 1, failed: 1 });
  expect(metrics.counts.handlers.get("user.created")?.outcomes).toEqual({
    done: 0, retry: 0, postponed: 1, dead: 1, skipped: 1, interrupted: 1, released: 1,
  }); // prettier-ignore
});

test("the figures of a minute have the longest wait of a first attempt, and the time from receipt to end", async () => {
  const metrics = metricsAt();
  metrics.delivered("user.created", "accepted");
  metrics.delivered("user.created", "duplicate");
  metrics.clock.at += 800;
  metrics.ended(run(), done({ startedAt: START + 700 }));
  metrics.ended(run({ attempt: 2 }), retry("no", { startedAt: START + 50_000 }));
  metrics.ended(run({ replay: "again" }), done({ startedAt: START + 50_000 }));
  const chart = await metrics.history.chart("1h");
  expect(chart.since).toBe(START - 59 * MINUTE);
  const last = [chart.deliveries, chart.failures, chart.queueAge, chart.p50, chart.p99].map((values) => values.at(-1));
  expect(last).toEqual([1, 1, 700, 800, 800]);
});

test("types and handlers above the limit are counted as other", () => {
  const metrics = metricsAt();
  for (let n = 0; n < 300; n += 1) metrics.delivered(`made.up${n}`, "accepted");
  for (let n = 0; n < 2_000; n += 1) metrics.ended(run({ handler: `handler ${n}` }), done());
  expect(metrics.counts.deliveries.size).toBe(201);
  expect(metrics.counts.deliveries.get("other")).toEqual({ accepted: 100, duplicate: 0 });
  expect(metrics.counts.handlers.size).toBe(501);
  expect(metrics.counts.handlers.get("other")?.outcomes.done).toBe(1_500);
  expect(metrics.handler("handler 1999").ran).toBe(0);
});

test("requests are counted by method, path and status, and unknown methods together", () => {
  const metrics = metricsAt();
  metrics.answered({ method: "POST", route: "/api/webhooks", status: 200, took: 3 });
  metrics.answered({ method: "POST", route: "/api/webhooks", status: 200, took: 4 });
  metrics.answered({ method: "BREW", route: undefined, status: 404, took: 1 });
  metrics.answered({ method: "PROPFIND", route: undefined, status: 404, took: 1 });
  const counted = [...metrics.counts.requests.values()].map(({ method, route, status, times }) => [
    method, route, status, times.count,
  ]); // prettier-ignore
  expect(counted).toEqual([
    ["POST", "/api/webhooks", 200, 2],
    ["_OTHER", undefined, 404, 2],
  ]);
});

test("memory does not grow with the number of events and handlers", () => {
  const metrics = metricsAt();
  const addEvents = (from: number, to: number) => {
    for (let n = from; n < to; n += 1) {
      metrics.delivered("user.created", "accepted");
      metrics.ended(run({ handler: `handler ${n % 2_000}` }), done());
    }
  };
  addEvents(0, 200_000);
  Bun.gc(true);
  const before = process.memoryUsage().heapUsed;
  addEvents(200_000, 500_000);
  Bun.gc(true);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_000_000);
});
