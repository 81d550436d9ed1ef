// The last hour: deliveries, failures, durations, and the age of the oldest waiting run.

import { useSignal } from "@preact/signals";

import type { HealthJson } from "../../api/types.ts";
import { count } from "../../count.ts";
import { formatDuration } from "../../duration.ts";
import { Chart, type Values } from "./chart.tsx";
import { deadRuns, health, narrow } from "./state.ts";
import { clock } from "./time.ts";

export function Health() {
  const hour = health.value;
  if (!hour) return <div class="health" aria-hidden="true" />;
  const { since } = hour;
  const [p50, p99] = [lastOf(hour.p50), lastOf(hour.p99)];
  const waits = hour.queueAge.at(-1) ?? 0;
  return (
    <section class="health" aria-label="The last hour">
      {!hour.writable && (
        <p class="alert" role="alert">
          The inbox can't be written: is the disk full? Clerk's requests are answered 503, and Svix retries them.
        </p>
      )}
      <p class="span">
        <span class="faint">The last hour</span>
        <Dead />
      </p>
      <Figure
        name="Deliveries"
        value={total(hour.deliveries)}
        lines={[["--accent", hour.deliveries]]}
        since={since}
        kind="bars"
      />
      <Figure
        name="Failures"
        value={total(hour.failures)}
        bad={sumOf(hour.failures) > 0}
        lines={[["--bad", hour.failures]]}
        since={since}
        kind="bars"
      />
      <Figure
        name="p50 · p99"
        value={p50 === null || p99 === null ? "–" : `${formatDuration(p50)} · ${formatDuration(p99)}`}
        lines={[
          ["--accent", hour.p50],
          ["--faint", hour.p99],
        ]}
        since={since}
        kind="line"
        unit={formatDuration}
      />
      <Figure
        name="Queue age"
        value={waits === 0 ? "none waiting" : formatDuration(waits)}
        lines={[["--warn", hour.queueAge]]}
        since={since}
        kind="line"
        unit={formatDuration}
      />
    </section>
  );
}

/** The number of dead runs, of any age. */
function Dead() {
  const counted = deadRuns.value;
  if (!counted || counted.found === 0) return null;
  return (
    <button type="button" class="link" onClick={() => narrow({ state: "dead" })}>
      {counted.more && "more than "}
      {count(counted.found, "dead run")}
    </button>
  );
}

interface FigureProps {
  name: string;
  value: string;
  bad?: boolean;
  lines: readonly (readonly [colour: string, values: Values])[];
  since: HealthJson["since"];
  kind: "bars" | "line";
  unit?: (value: number) => string;
}

function Figure({ name, value, bad, lines, since, kind, unit = String }: FigureProps) {
  const pointed = useSignal<number | null>(null);
  const index = pointed.value;
  const there = index === null ? [] : lines.map(([, values]) => values[index] ?? null);
  return (
    <figure class={bad ? "bad" : ""}>
      <figcaption>
        <span class="name">{name}</span>
        <span class="figure">
          {index === null
            ? value
            : `${clock(since + index * 60_000, Date.now()).slice(0, -3)}  ${there.map((value) => (value === null ? "–" : unit(value))).join(" · ")}`}
        </span>
      </figcaption>
      <Chart
        since={since}
        kind={kind}
        lines={lines.map(([colour, values]) => ({ colour, values }))}
        onPoint={(at) => (pointed.value = at)}
      />
    </figure>
  );
}

function total(values: readonly number[]): string {
  return sumOf(values).toLocaleString("en");
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function lastOf(values: Values): number | null {
  return values.findLast((value) => value !== null) ?? null;
}
