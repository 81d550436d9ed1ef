// The tables of `bun run bench`: servers that store, servers that only answer, and the README's summary between two markers.

import { BELLHOP, type Contender } from "./contenders.ts";
import { today } from "./machine.ts";
import { medianTurn, type Turn } from "./measure.ts";
import { number, ratio, table } from "./table.ts";

export interface Result {
  contender: Contender;
  /** By number of connections. */
  turns: ReadonlyMap<number, readonly Turn[]>;
  /** At half of its own peak, with requests at even intervals. */
  half: readonly Turn[];
}

export interface Setup {
  connections: readonly number[];
  rounds: number;
  seconds: number;
  machine: string;
  /** When the run began. */
  loadAverage: number;
}

const MARKERS = ["<!-- bench -->", "<!-- /bench -->"] as const;
const PEERS_IN_SUMMARY = 2;

export function figuresOf({ turns }: Result, connections: number): Turn {
  return medianTurn(turns.get(connections) ?? []);
}

/** The servers that store what they accept; most of them also handle it. */
export function storingTable(results: readonly Result[], setup: Setup): string {
  const storing = results.filter(({ contender }) => contender.stores);
  return figures(storing, setup, (turn) => ({
    "accepted/s": number(turn.rate),
    "handled/s": number(turn.handledRate),
    ...latency(turn),
    rest: number(turn.remainingMs),
    ...cost(turn),
  }));
}

/** How the servers that store answer while they have time. */
export function halfTable(results: readonly Result[]): string {
  return table(
    results
      .filter(({ half }) => half.length > 0)
      .map(({ contender, half }) => {
        const turn = medianTurn(half);
        const { latency: all } = turn;
        const times = ratio(all.quantile(0.99) / all.quantile(0.5));
        return { contender: contender.name, "requests/s": number(turn.rate), ...latency(turn), "p99 / p50": times };
      }),
  );
}

/** Bellhop beside the servers that store nothing. */
export function answeringTable(results: readonly Result[], setup: Setup): string {
  const answering = results.filter(({ contender }) => contender.key === BELLHOP || !contender.stores);
  return figures(answering, setup, (turn) => ({ "answers/s": number(turn.rate), ...latency(turn), ...cost(turn) }));
}

/** How many times as many deliveries Bellhop accepts and handles as each peer that stores; empty without such peers. */
export function ratioTable(results: readonly Result[], { connections }: Setup): string {
  const bellhop = results.find(({ contender }) => contender.key === BELLHOP)!;
  const rows = storingPeers(results).map((peer) => {
    const times = (figure: (turn: Turn) => number) => (count: number) =>
      ratio(figure(figuresOf(bellhop, count)) / figure(figuresOf(peer, count)));
    return {
      "Bellhop, to": peer.contender.name,
      [`accepted at ${connections.join(", ")}`]: connections.map(times(({ rate }) => rate)).join(", "),
      handled: connections.map(times(({ handledRate }) => handledRate)).join(", "),
    };
  });
  return rows.length === 0 ? "" : table(rows);
}

/** The README's rows: Bellhop and the fastest peers that store. */
export function summary(results: readonly Result[], setup: Setup): string {
  const shown = shownConnections(setup);
  const handledRate = (result: Result) => figuresOf(result, shown).handledRate;
  const fastest = storingPeers(results).toSorted((a, b) => handledRate(b) - handledRate(a));
  const bellhop = results.filter(({ contender }) => contender.key === BELLHOP);
  const rows = [...bellhop, ...fastest.slice(0, PEERS_IN_SUMMARY)].map((result) => ({
    contender: result.contender.name,
    ...Object.fromEntries(
      setup.connections.map((count) => [`handled/s at ${count}`, number(figuresOf(result, count).handledRate)]),
    ),
    [`p99 ms at ${shown}`]: number(figuresOf(result, shown).latency.quantile(0.99)),
  }));
  return [
    table(rows),
    `Accepted, on the disk and handled, by connections; the peers are the fastest of those that store at ${shown}. All
figures, and how they were measured on ${today()}: [docs/benchmarks.md](docs/benchmarks.md).`,
  ].join("\n\n");
}

/** Replaces the text between the two markers. */
export function replaceFigures(text: string, block: string): string {
  const [from, to] = MARKERS.map((marker) => text.indexOf(marker)) as [number, number];
  if (from < 0 || to < from) throw new Error(`the text must contain ${MARKERS[0]} followed by ${MARKERS[1]}`);
  return `${text.slice(0, from + MARKERS[0].length)}\n\n${block}\n\n${text.slice(to)}`;
}

/** The machine, the turns and the date. */
export function conditions({ rounds, seconds, machine, loadAverage }: Setup): string {
  const turns = rounds === 1 ? `One turn of ${seconds} s` : `The median of ${rounds} turns of ${seconds} s`;
  return `${turns} each, alternating, on ${machine}, load average ${loadAverage.toFixed(1)} before the run, ${today()}.`;
}

export function versions(results: readonly Result[]): string {
  const all = Object.assign({}, ...results.map(({ contender }) => contender.versions)) as Record<string, string>;
  const named = Object.entries(all).map(([name, version]) => `${name} ${version}`);
  return named.length === 0 ? "" : `With ${named.join(", ")}.`;
}

/** The README has the p99 at these connections, and chooses its peers by them. */
function shownConnections({ connections }: Setup): number {
  return connections.includes(32) ? 32 : connections[0]!;
}

function storingPeers(results: readonly Result[]): Result[] {
  return results.filter(({ contender: { stores, peer } }) => stores && peer);
}

function figures(
  results: readonly Result[],
  { connections }: Setup,
  columns: (turn: Turn) => Record<string, string>,
): string {
  return table(
    results.flatMap((result) =>
      connections.map((count, index) => ({
        contender: index === 0 ? result.contender.name : "",
        at: number(count),
        ...columns(figuresOf(result, count)),
      })),
    ),
  );
}

function latency({ latency }: Turn) {
  return { p50: number(latency.quantile(0.5)), p99: number(latency.quantile(0.99)) };
}

/** CPU time and memory of a server and its store. */
function cost({ cpuSeconds, storeCpuSeconds, residentMegabytes, storeMegabytes }: Turn) {
  const microseconds = (cpuSeconds + (storeCpuSeconds || 0)) * 100;
  return { "CPU µs": number(microseconds), MB: number(residentMegabytes + (storeMegabytes || 0)) };
}
