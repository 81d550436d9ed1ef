// One turn of one contender: load for some seconds, then what is left is handled; and the middle of several turns.

import type { Contender } from "./contenders.ts";
import { createHistogram, type Histogram, median } from "./histogram.ts";
import { load } from "./load.ts";
import { usageOf } from "./process.ts";
import type { Requests } from "./requests.ts";
import type { Running } from "./servers.ts";

/** A contender that runs, and what it has answered so far. */
export interface Started extends Contender {
  running: Running;
  answered: string[];
}

export interface Turn {
  /** Answers of 200 a second. */
  rate: number;
  /** The same ones, until the last run was done; NaN for those that handle nothing. */
  handledRate: number;
  latency: Histogram;
  wrong: number;
  /** Until all was handled, for 10,000 requests. */
  cpuSeconds: number;
  residentMegabytes: number;
}

/** The requests have to be prepared: signing them is nobody's cost. */
export async function turn(
  { running, answered, handles }: Pick<Started, "running" | "answered" | "handles">,
  options: { requests: Requests; connections: number; seconds: number; rate?: number },
): Promise<Turn> {
  const before = usageOf(running.pid);
  const { answers, wrong, began, rate, latency } = await load({ ...options, port: running.port, answered });
  await running.settle();
  const took = (performance.now() - began) / 1_000;
  const after = usageOf(running.pid);
  return {
    rate,
    handledRate: handles ? (answers - wrong) / took : Number.NaN,
    latency,
    wrong,
    cpuSeconds: ((after.cpuSeconds - before.cpuSeconds) / answers) * 10_000,
    residentMegabytes: after.residentMegabytes,
  };
}

/** The middle of each figure; of latencies, those of all turns together. */
export function middle(turns: readonly Turn[]): Turn {
  const latency = createHistogram();
  for (const each of turns) latency.merge(each.latency);
  const of = (figure: (turn: Turn) => number) => median(turns.map(figure));
  return {
    rate: of(({ rate }) => rate),
    handledRate: of(({ handledRate }) => handledRate),
    latency,
    wrong: turns.reduce((sum, { wrong }) => sum + wrong, 0),
    cpuSeconds: of(({ cpuSeconds }) => cpuSeconds),
    residentMegabytes: of(({ residentMegabytes }) => residentMegabytes),
  };
}
