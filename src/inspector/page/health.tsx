// One strip: what is dead, retrying and waiting now, and the deliveries, failures and durations of a time span. Each figure
// is a link to what it counts.

import { signal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";

import type { ChartWindow } from "../../api/server-types.ts";
import { formatDuration } from "../../duration.ts";
import { api } from "./api.ts";
import { Chart, type Values } from "./chart.tsx";
import { Ago } from "./components.tsx";
import type { Filter } from "./filter.ts";
import { remote } from "./remote.tsx";
import { health } from "./state.ts";
import { throttled } from "./throttled.ts";
import { writeView } from "./view-url.ts";

const WINDOWS: Record<ChartWindow, string> = { "1h": "last hour", "24h": "last 24 h", "14d": "last 14 days" };
const RELOAD_MS = 15_000;

const shownWindow = signal<ChartWindow>("1h");
/** The figures of a longer time than an hour, which the feed does not report. */
const longer = remote(() => api.health(shownWindow.peek()));
const reloadLonger = throttled(RELOAD_MS, () => longer.load());

function show(window: ChartWindow) {
  shownWindow.value = window;
  longer.clear();
  if (window !== "1h") void longer.load();
}

export function Health() {
  useSignalEffect(() => {
    // With each message of the feed.
    if (health.value && shownWindow.value !== "1h") reloadLonger();
  });
  const hour = health.value;
  if (!hour) return <div class="health panel" aria-hidden="true" />;
  const { runs, lastDelivery } = hour;
  const since = shownWindow.value;
  const shown = since === "1h" ? hour : (longer.value.value ?? hour);
  const [p50, p99] = [lastOf(shown.p50), lastOf(shown.p99)];
  const span = WINDOWS[since];
  const waits = hour.queueAge.at(-1) ?? 0;
  return (
    <>
      {!hour.writable && (
        <p class="alert" role="alert">
          The inbox can't be written: is the disk full? Clerk's requests are answered 503, and Svix retries them.
        </p>
      )}
      <section class="health panel" aria-label="Health">
        <Figure name="dead now" filter={{ state: "dead" }} bad={runs.dead > 0}>
          {runs.dead.toLocaleString("en")}
        </Figure>
        <Figure name="retrying now" filter={{ state: "retrying" }}>
          {runs.retrying.toLocaleString("en")}
        </Figure>
        <Figure name="oldest waiting" filter={{ state: "waiting" }}>
          {waits === 0 ? "idle" : formatDuration(waits)}
        </Figure>
        <Figure name="last delivery" filter={{}}>
          {lastDelivery === null ? "none" : <Ago at={lastDelivery} />}
        </Figure>
        <Figure name={`deliveries, ${span}`} filter={{ since }} chart={bars(shown.deliveries, "accent", "Deliveries")}>
          {sum(shown.deliveries)}
        </Figure>
        <Figure
          name={`failures, ${span}`}
          filter={{ since, state: "dead" }}
          chart={bars(shown.failures, "bad", "Failures")}
        >
          {sum(shown.failures)}
        </Figure>
        <Figure name={`p50 · p99, ${span}`} filter={{ since }} chart={lines(shown.p50, shown.p99)}>
          {p50 === null || p99 === null ? "–" : `${formatDuration(p50)} · ${formatDuration(p99)}`}
        </Figure>
        <select
          aria-label="Charts of"
          value={since}
          onChange={({ currentTarget }) => show(currentTarget.value as ChartWindow)}
        >
          {Object.keys(WINDOWS).map((name) => (
            <option key={name} value={name}>
              {name.replace("h", " h").replace("d", " d")}
            </option>
          ))}
        </select>
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
    <a class="figure" href={writeView({ page: "deliveries", id: null, problem: null, filter })}>
      <b class={`value${bad ? " bad" : ""}`}>{children}</b>
      <span class="name tiny faint cut">{name}</span>
      {chart}
    </a>
  );
}

function bars(values: Values, tone: string, what: string) {
  return <Chart kind="bars" label={`${what} over time`} lines={[{ values, tone }]} />;
}

function lines(p50: Values, p99: Values) {
  const shown = [
    { values: p50, tone: "accent" },
    { values: p99, tone: "faint" },
  ];
  return <Chart kind="line" label="Durations over time, on a logarithmic scale" lines={shown} />;
}

function sum(values: readonly number[]): string {
  return values.reduce((total, value) => total + value, 0).toLocaleString("en");
}

function lastOf(values: Values): number | null {
  return values.findLast((value) => value !== null) ?? null;
}
