// Formats the report that `bun run bench` prints, and the summary that it writes between two markers of the README.

import type { Contender } from "./contenders.ts";
import { machine, today } from "./machine.ts";
import { medianTurn, type Turn } from "./measure.ts";
import { number, ratio, table } from "./table.ts";

/** The turns of a contender by number of connections. */
export type Turns = ReadonlyMap<number, readonly Turn[]>;

export interface Result {
  contender: Contender;
  turns: Turns;
}

interface Setup {
  connections: readonly number[];
  rounds: number;
  seconds: number;
}

const MARKERS = ["<!-- bench -->", "<!-- /bench -->"] as const;

/** All figures, with one table per number of connections. */
export function report(results: readonly Result[], setup: Setup): string {
  const tables = setup.connections.map((connections) => {
    const first = results[0] && medianTurn(results[0].turns.get(connections) ?? []);
    const rows = results.map(({ contender, turns }) => {
      const figures = medianTurn(turns.get(connections) ?? []);
      return {
        [connections === 1 ? "1 connection" : `${connections} connections`]: contender.name,
        "requests/s": number(figures.rate),
        "handled/s": number(figures.handledRate),
        "p50 ms": number(figures.latency.quantile(0.5)),
        "p99 ms": number(figures.latency.quantile(0.99)),
        "max ms": number(figures.latency.max),
        "CPU s/10,000": number(figures.cpuSeconds),
        "memory MB": number(figures.residentMegabytes),
        "to Bellhop": ratio(figures.rate / (first?.rate ?? Number.NaN)),
      };
    });
    return table(rows);
  });
  return [...tables, conditions(setup), versions(results)].join("\n\n");
}

/** The README's summary: one table with all figures at 32 connections, and the rates at the others. */
export function summary(results: readonly Result[], setup: Setup): string {
  const { connections } = setup;
  const shown = connections.includes(32) ? 32 : connections[0]!;
  const bellhop = medianTurn(results[0]?.turns.get(shown) ?? []);
  const rows = results.map(({ contender, turns }) => {
    const figures = medianTurn(turns.get(shown) ?? []);
    const rates = connections.map((count) => [`${count}`, number(medianTurn(turns.get(count) ?? []).rate)]);
    return {
      contender: contender.name,
      does: contender.does,
      ...Object.fromEntries(rates.map(([count, rate]) => [`requests/s at ${count}`, rate])),
      "p50 / p99 / max ms": [figures.latency.quantile(0.5), figures.latency.quantile(0.99), figures.latency.max]
        .map((ms) => number(ms))
        .join(" / "),
      "CPU s per 10,000": number(figures.cpuSeconds),
      "memory MB": number(figures.residentMegabytes),
      "to Bellhop": ratio(figures.rate / bellhop.rate),
    };
  });
  const handled = results
    .filter(({ contender }) => contender.handles)
    .map(({ contender, turns }) => `${contender.name}, ${number(medianTurn(turns.get(shown) ?? []).handledRate)}`)
    .join("; ");
  return [
    table(rows),
    `Latency, CPU, memory and ratio at ${shown} connections. Accepted and handled a second: ${handled}.`,
    `${conditions(setup)} ${versions(results)} Written by \`bun run bench --write\` on ${today()}.`,
  ].join("\n\n");
}

/** Replaces the text between the two markers. */
export function replaceFigures(text: string, block: string): string {
  const [from, to] = MARKERS.map((marker) => text.indexOf(marker)) as [number, number];
  if (from < 0 || to < from) throw new Error(`the text must contain ${MARKERS[0]} followed by ${MARKERS[1]}`);
  return `${text.slice(0, from + MARKERS[0].length)}\n\n${block}\n\n${text.slice(to)}`;
}

function conditions({ rounds, seconds }: Setup): string {
  const turns = rounds === 1 ? `One turn of ${seconds} s each` : `Median of ${rounds} turns of ${seconds} s each`;
  return `${turns}, alternating, signed \`user.created\` of 1 KB, on ${machine()}.`;
}

function versions(results: readonly Result[]): string {
  const all = Object.assign({}, ...results.map(({ contender }) => contender.versions)) as Record<string, string>;
  const named = Object.entries(all).map(([name, version]) => `${name} ${version}`);
  return named.length === 0 ? "" : `With ${named.join(", ")}.`;
}
