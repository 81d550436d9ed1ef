// One strip: what is dead, retrying and waiting now, and the deliveries, failures and durations of a time span. Each figure
// is a link to what it counts.

import type { ComponentChildren } from "preact";

import { formatDuration } from "../../duration.ts";
import { Chart, type Values } from "./chart.tsx";
import { Ago } from "./components.tsx";
import type { Filter } from "./filter.ts";
import { health } from "./state.ts";
import { writeView } from "./view-url.ts";

export function Health() {
  const hour = health.value;
  if (!hour) return <div class="health" aria-hidden="true" />;
  const { runCounts, deliveries, failures } = hour;
  const [p50, p99] = [lastOf(hour.p50), lastOf(hour.p99)];
  const waits = hour.queueAge.at(-1) ?? 0;
  const plus = runCounts.more ? "+" : "";
  return (
    <>
      {!hour.writable && (
        <p class="alert" role="alert">
          The inbox can't be written: is the disk full? Clerk's requests are answered 503, and Svix retries them.
        </p>
      )}
      <section class="health" aria-label="Health">
        <Figure name="dead now" filter={{ state: "dead" }} bad={runCounts.dead > 0}>
          {runCounts.dead.toLocaleString("en")}
          {runCounts.dead > 0 && plus}
        </Figure>
        <Figure name="retrying now" filter={{ state: "retrying" }}>
          {runCounts.retrying.toLocaleString("en")}
          {runCounts.retrying > 0 && plus}
        </Figure>
        <Figure name="oldest waiting" filter={{ state: "waiting" }}>
          {waits === 0 ? "idle" : formatDuration(waits)}
        </Figure>
        <Figure name="last delivery" filter={{}}>
          {runCounts.lastDeliveryAt === null ? "none" : <Ago at={runCounts.lastDeliveryAt} />}
        </Figure>
        <Figure name="deliveries, last hour" filter={{ since: "1h" }} chart={bars(deliveries, "accent", "Deliveries")}>
          {sum(deliveries)}
        </Figure>
        <Figure
          name="failures, last hour"
          filter={{ since: "1h", state: "dead" }}
          chart={bars(failures, "bad", "Failures")}
        >
          {sum(failures)}
        </Figure>
        <Figure name="p50 · p99, last hour" filter={{ since: "1h" }} chart={lines(hour.p50, hour.p99)}>
          {p50 === null || p99 === null ? "–" : `${formatDuration(p50)} · ${formatDuration(p99)}`}
        </Figure>
      </section>
    </>
  );
}

interface FigureProps {
  name: string;
  filter: Filter;
  bad?: boolean;
  chart?: ComponentChildren;
  children: ComponentChildren;
}

function Figure({ name, filter, bad = false, chart, children }: FigureProps) {
  return (
    <a class={`figure${bad ? " bad" : ""}`} href={writeView({ page: "deliveries", id: null, problem: null, filter })}>
      <span class="value">{children}</span>
      <span class="name">{name}</span>
      {chart}
    </a>
  );
}

function bars(values: Values, tone: string, what: string) {
  return <Chart kind="bars" label={`${what} per minute`} lines={[{ values, tone }]} />;
}

function lines(p50: Values, p99: Values) {
  const shown = [
    { values: p50, tone: "accent" },
    { values: p99, tone: "faint" },
  ];
  return <Chart kind="line" label="Durations per minute, on a logarithmic scale" lines={shown} />;
}

function sum(values: readonly number[]): string {
  return values.reduce((total, value) => total + value, 0).toLocaleString("en");
}

function lastOf(values: Values): number | null {
  return values.findLast((value) => value !== null) ?? null;
}
