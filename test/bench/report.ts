// What `bun run bench` prints, and writes into the README between its two marks.

import type { Contender } from "./contenders.ts";
import { machine, today } from "./machine.ts";
import { middle, type Turn } from "./measure.ts";
import { number, ratio, table } from "./table.ts";

/** The turns of a contender by connections. */
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

const MARKS = ["<!-- bench -->", "<!-- /bench -->"] as const;

/** All figures: a table for each number of connections. */
export function report(results: readonly Result[], setup: Setup): string {
  const tables = setup.connections.map((connections) => {
    const first = results[0] && middle(results[0].turns.get(connections) ?? []);
    const rows = results.map(({ contender, turns }) => {
      const of = middle(turns.get(connections) ?? []);
      return {
        [connections === 1 ? "1 connection" : `${connections} connections`]: contender.name,
        "requests/s": number(of.rate),
        "handled/s": number(of.handledRate),
        "p50 ms": number(of.latency.at(0.5)),
        "p99 ms": number(of.latency.at(0.99)),
        "max ms": number(of.latency.max),
        "CPU s/10,000": number(of.cpuSeconds),
        "memory MB": number(of.residentMegabytes),
        "to Bellhop": ratio(of.rate / (first?.rate ?? Number.NaN)),
      };
    });
    return table(rows);
  });
  return [...tables, conditions(setup), versions(results)].join("\n\n");
}

/** What the README shows: one table, with all of 32 connections and the rates of the others. */
export function summary(results: readonly Result[], setup: Setup): string {
  const { connections } = setup;
  const usual = connections.includes(32) ? 32 : connections[0]!;
  const bellhop = middle(results[0]?.turns.get(usual) ?? []);
  const rows = results.map(({ contender, turns }) => {
    const of = middle(turns.get(usual) ?? []);
    const rates = connections.map((each) => [`${each}`, number(middle(turns.get(each) ?? []).rate)]);
    return {
      contender: contender.name,
      does: contender.does,
      ...Object.fromEntries(rates.map(([each, rate]) => [`requests/s at ${each}`, rate])),
      "p50 / p99 / max ms": [of.latency.at(0.5), of.latency.at(0.99), of.latency.max]
        .map((each) => number(each))
        .join(" / "),
      "CPU s per 10,000": number(of.cpuSeconds),
      "memory MB": number(of.residentMegabytes),
      "to Bellhop": ratio(of.rate / bellhop.rate),
    };
  });
  const handled = results
    .filter(({ contender }) => contender.handles)
    .map(({ contender, turns }) => `${contender.name}, ${number(middle(turns.get(usual) ?? []).handledRate)}`)
    .join("; ");
  return [
    table(rows),
    `Latency, CPU, memory and ratio at ${usual} connections. Accepted and handled, a second: ${handled}.`,
    `${conditions(setup)} ${versions(results)} Written by \`bun run bench --write\` on ${today()}.`,
  ].join("\n\n");
}

/** Puts the summary between the marks of a text. */
export function writeBetween(text: string, block: string): string {
  const [from, to] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
  if (from < 0 || to < from) throw new Error(`there is no ${MARKS[0]} followed by ${MARKS[1]} to write between`);
  return `${text.slice(0, from + MARKS[0].length)}\n\n${block}\n\n${text.slice(to)}`;
}

function conditions({ rounds, seconds }: Setup): string {
  const turns = rounds === 1 ? `One turn of ${seconds} s each` : `The middle of ${rounds} turns of ${seconds} s each`;
  return `${turns}, side by side, signed \`user.created\` of 1 KB, on ${machine()}.`;
}

function versions(results: readonly Result[]): string {
  const all = Object.assign({}, ...results.map(({ contender }) => contender.versions)) as Record<string, string>;
  const named = Object.entries(all).map(([name, version]) => `${name} ${version}`);
  return named.length === 0 ? "" : `With ${named.join(", ")}.`;
}
