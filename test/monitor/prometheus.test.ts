import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { createHistory } from "../../src/monitor/history.ts";
import { createMetrics } from "../../src/monitor/metrics.ts";
import { createPrometheus } from "../../src/monitor/prometheus.ts";
import { serverWith, until } from "../harness.ts";
import { FAILS, TOKEN } from "../inspector/inspected.ts";
import { rejection } from "../rejection.ts";
import { done, run } from "./running.ts";
import { parseExposition, scrape, valueOf } from "./scrape.ts";

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** The names that docs/metrics.md promises. */
const NAMES = [
  "bellhop_deliveries_total",
  "bellhop_refused_total",
  "bellhop_runs_total",
  "bellhop_run_duration_seconds",
  "bellhop_wait_seconds",
  "bellhop_runs",
  "bellhop_oldest_waiting_seconds",
  "bellhop_last_delivery_timestamp_seconds",
  "bellhop_inbox_writable",
  "http_server_request_duration_seconds",
  "process_cpu_seconds_total",
  "process_resident_memory_bytes",
  "nodejs_eventloop_lag_p99_seconds",
];

test("a scrape has deliveries, refusals, runs and requests, as they were counted", async () => {
  const files = { "user.created.ts": "export default () => {};", "user.updated.ts": FAILS };
  await using server = await serverWith(files, { INSPECTOR_TOKEN: TOKEN, METRICS_PORT: "0" });
  const url = `http://127.0.0.1:${server.metricsPort}/metrics`;
  const before = Date.now();
  await server.post(sample("user.created"), { id: "msg_1" });
  await server.post(sample("user.created"), { id: "msg_1" });
  await server.post(sample("user.updated"), { id: "msg_2" });
  await server.post(sample("user.created"), { id: "msg_3", secret: "whsec_b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldA==" });
  await fetch(url.replace(/:\d+/, `:${server.port}`));
  const found = await until("both attempts", async () => {
    const families = await scrape(url);
    const ended = (handler: string, outcome: string) =>
      valueOf(families, "bellhop_runs_total", { handler, outcome }) === 1;
    const isRead = valueOf(families, "bellhop_runs", { handler: "user.updated", state: "retrying" }) === 1;
    return ended("user.created", "done") && ended("user.updated", "retry") && isRead ? families : undefined;
  });
  for (const name of NAMES) expect(found.has(name), name).toBe(true);
  expect([...found.keys()].filter((name) => name.startsWith("nodejs_heap_space"))).toEqual([]);
  const values = {
    accepted: valueOf(found, "bellhop_deliveries_total", { type: "user.created", status: "accepted" }),
    duplicate: valueOf(found, "bellhop_deliveries_total", { type: "user.created", status: "duplicate" }),
    refused: valueOf(found, "bellhop_refused_total", { code: "no_match" }),
    durations: valueOf(found, "bellhop_run_duration_seconds", { handler: "user.created" }),
    waits: valueOf(found, "bellhop_wait_seconds", { handler: "user.updated" }),
    writable: valueOf(found, "bellhop_inbox_writable"),
    waiting: valueOf(found, "bellhop_oldest_waiting_seconds"),
    good: valueOf(found, "http_server_request_duration_seconds", {
      http_request_method: "POST", http_route: "/api/webhooks", http_response_status_code: "200",
    }),
    bad: valueOf(found, "http_server_request_duration_seconds", { http_response_status_code: "400" }),
    unknown: valueOf(found, "http_server_request_duration_seconds", { http_response_status_code: "404" }),
  }; // prettier-ignore
  expect(values).toEqual({
    accepted: 1, duplicate: 1, refused: 1, durations: 1, waits: 1, writable: 1, waiting: 0, good: 3, bad: 1, unknown: 1,
  }); // prettier-ignore
  const last = valueOf(found, "bellhop_last_delivery_timestamp_seconds")!;
  expect(last).toBeGreaterThanOrEqual(before / 1_000);
  const limits = found.get("bellhop_run_duration_seconds")!.series.map(({ labels }) => labels.le);
  expect(limits).toEqual(expect.arrayContaining(["0.005", "0.25", "10", "+Inf"]));
});

test("the inspector's port needs the token, and METRICS_PORT serves nothing else", async () => {
  await using server = await serverWith({}, { INSPECTOR_TOKEN: TOKEN, METRICS_PORT: "0" });
  const inspector = `${server.inspectorUrl}/metrics`;
  expect((await fetch(inspector)).status).toBe(401);
  expect((await fetch(inspector, { headers: bearer("another-token-of-32-letters-long") })).status).toBe(401);
  // The token opens /metrics only: other routes need a session.
  expect((await fetch(`${server.inspectorUrl}/api/deliveries`, { headers: bearer(TOKEN) })).status).toBe(401);
  expect(await scrape(inspector, bearer(TOKEN))).toHaveProperty("size");
  const own = `http://127.0.0.1:${server.metricsPort}`;
  const statuses = ["/metrics", "/", "/api/deliveries", "/health"].map(
    async (path) => (await fetch(own + path)).status,
  );
  expect(await Promise.all(statuses)).toEqual([200, 404, 404, 404]);
  expect((await fetch(`${own}/metrics`, { method: "POST" })).status).toBe(405);
  expect((await fetch(`http://127.0.0.1:${server.port}/metrics`)).status).toBe(404);
});

test("a port that is taken is reported with the setting to change", async () => {
  using taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const failure = serverWith({}, { METRICS_PORT: String(taken.port) });
  expect(await rejection(failure)).toContain("pick another port: METRICS_PORT=9464");
});

test("runs of more handlers than are shown are counted as other", async () => {
  const history = createHistory({ inbox: { rollups: { list: async () => [], save: async () => {} } } });
  const { counts } = createMetrics(history);
  const runs = Array.from({ length: 600 }, (_, n) => ({ handler: `handler ${n}`, state: "dead" as const, count: 2 }));
  const figures = async () => ({ counts: runs, oldestWaitingMs: 0, newest: null });
  const { text } = await createPrometheus({ counts, figures, writable: () => true })();
  const found = parseExposition(text);
  expect(found.get("bellhop_runs")?.series).toHaveLength(501);
  expect(valueOf(found, "bellhop_runs", { handler: "other" })).toBe(200);
});

test("while the inbox can't be read, its figures are missing, and the counts are not", async () => {
  const history = createHistory({ inbox: { rollups: { list: async () => [], save: async () => {} } } });
  const { counts, ended } = createMetrics(history);
  ended(run({ handler: 'a "quoted"\nname' }), done());
  const figures = () => Promise.reject(new Error("it does not answer"));
  const { text, contentType } = await createPrometheus({ counts, figures, writable: () => false })();
  expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(text).toContain("bellhop_inbox_writable 0\n");
  expect(text).toContain('bellhop_runs_total{handler="a \\"quoted\\"\\nname",outcome="done"} 1\n');
  expect(text).not.toMatch(/^bellhop_oldest_waiting_seconds/m);
});
