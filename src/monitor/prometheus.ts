// The metrics as Prometheus reads them: formats the counts of this process and the figures of the inbox. Loads prom-client
// at the first scrape, and counts nothing itself. The only file that imports prom-client.

import type { Metric as PrometheusMetric } from "prom-client";

import type { Durations } from "./durations.ts";
import type { InboxFigures, ReadFigures } from "./inbox-figures.ts";
import { type Counts, MAX_HANDLERS, OTHER } from "./metrics.ts";

interface PrometheusOptions {
  counts: Counts;
  figures: ReadFigures;
  writable: () => boolean;
}

export interface Scrape {
  contentType: string;
  text: string;
}

type Labels = Record<string, string | number>;
type Sample = readonly [labels: Labels, value: number];
type TimeSample = readonly [labels: Labels, times: Durations];

// https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
// A handler may take a minute and more; its deliveries may wait for hours.
const RUN_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const WAIT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 7_200];

// On Bun, reading these collects garbage first, which blocks the event loop for 50 to 150 ms.
const COLLECT_GARBAGE = ["total", "used", "available"].map((of) => `nodejs_heap_space_size_${of}_bytes`);

/** Returns a function that makes the answer to a scrape. */
export function createPrometheus(options: PrometheusOptions): () => Promise<Scrape> {
  let registry: ReturnType<typeof createRegistry> | undefined;
  return async () => {
    registry ??= createRegistry(options);
    const opened = await registry;
    return { contentType: opened.contentType, text: await opened.metrics() };
  };
}

async function createRegistry({ counts, figures, writable }: PrometheusOptions) {
  const { collectDefaultMetrics, Counter, Gauge, Registry } = (await import("prom-client")).default;
  const registry = new Registry();
  const registers: [] = [];

  function counter(name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) {
    registry.registerMetric(
      new Counter({
        name,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          for (const [labels, value] of samples()) this.inc(labels, value);
        },
      }),
    );
  }

  function gauge(name: string, help: string, labelNames: string[], samples: () => Promise<Iterable<Sample>>) {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames,
        registers,
        async collect() {
          const found = await samples();
          this.reset();
          // A gauge without labels would be 0 instead of missing.
          this.remove({});
          for (const [labels, value] of found) this.set(labels, value);
        },
      }),
    );
  }

  /** prom-client has no way to set the buckets of a histogram, so this metric answers with those that were counted. */
  function histogram(name: string, help: string, seconds: readonly number[], samples: () => Iterable<TimeSample>) {
    const valuesOf = ([labels, times]: TimeSample) => [
      ...seconds.map((le) => value(`${name}_bucket`, { ...labels, le }, times.within(le * 1_000))),
      value(`${name}_bucket`, { ...labels, le: "+Inf" }, times.count),
      value(`${name}_sum`, labels, times.sum / 1_000),
      value(`${name}_count`, labels, times.count),
    ];
    const get = async () => ({ name, help, type: "histogram", values: [...samples()].flatMap(valuesOf) });
    registry.registerMetric({ name, get } as unknown as PrometheusMetric);
  }

  /** While the inbox can't be read, its figures are missing, and the others are not. */
  async function fromInbox(read: (found: InboxFigures) => Iterable<Sample>): Promise<Iterable<Sample>> {
    try {
      return read(await figures());
    } catch {
      return [];
    }
  }

  counter("bellhop_deliveries_total", "Verified deliveries that were answered with 200.", ["type", "status"], () =>
    [...counts.deliveries].flatMap(([type, statuses]) =>
      Object.entries(statuses).map(([status, number]): Sample => [{ type, status }, number]),
    ),
  );
  counter("bellhop_refused_total", "Refused requests, by the code of their answer.", ["code"], () =>
    [...counts.refused].map(([code, number]): Sample => [{ code }, number]),
  );
  counter("bellhop_runs_total", "Attempts that ended, by how they ended.", ["handler", "outcome"], () =>
    [...counts.handlers].flatMap(([handler, { outcomes }]) =>
      Object.entries(outcomes).map(([outcome, number]): Sample => [{ handler, outcome }, number]),
    ),
  );
  histogram("bellhop_run_duration_seconds", "Durations of attempts.", RUN_SECONDS, () =>
    [...counts.handlers].map(([handler, { durations }]): TimeSample => [{ handler }, durations]),
  );
  histogram("bellhop_wait_seconds", "From a receipt to the first attempt.", WAIT_SECONDS, () =>
    [...counts.handlers].map(([handler, { waits }]): TimeSample => [{ handler }, waits]),
  );
  gauge("bellhop_runs", "Runs in the inbox that are not done, of all servers.", ["handler", "state"], () =>
    fromInbox((found) => runSamples(found)),
  );
  gauge("bellhop_oldest_waiting_seconds", "How long the oldest run that may start has waited.", [], () =>
    fromInbox(({ oldestWaitingMs }) => [[{}, oldestWaitingMs / 1_000]]),
  );
  gauge("bellhop_last_delivery_timestamp_seconds", "When the last delivery was received.", [], () =>
    fromInbox(({ newest }) => (newest ? [[{}, newest.receivedAt / 1_000]] : [])),
  );
  gauge("bellhop_inbox_writable", "1 while this server can store deliveries.", [], async () => [
    [{}, Number(writable())],
  ]);
  histogram("http_server_request_duration_seconds", "Durations of the public port's requests.", REQUEST_SECONDS, () =>
    [...counts.requests.values()].map(({ method, route, status, times: took }): TimeSample => [
      {
        http_request_method: method,
        http_response_status_code: status,
        url_scheme: "http",
        ...(route !== undefined && { http_route: route }),
      },
      took,
    ]),
  );
  collectDefaultMetrics({ register: registry });
  for (const name of COLLECT_GARBAGE) registry.removeSingleMetric(name);
  return registry;
}

/** Renamed handlers may have left runs in the inbox, so the labels are bounded here, too. */
function runSamples({ counts }: InboxFigures): Sample[] {
  const handlers = new Set<string>();
  const samples = new Map<string, [Labels, number]>();
  for (const { handler, state, count } of counts) {
    if (handlers.size < MAX_HANDLERS) handlers.add(handler);
    const labels = { handler: handlers.has(handler) ? handler : OTHER, state };
    const key = JSON.stringify(labels);
    samples.set(key, [labels, (samples.get(key)?.[1] ?? 0) + count]);
  }
  return [...samples.values()];
}

function value(metricName: string, labels: Labels, number: number) {
  return { metricName, labels, value: number };
}
