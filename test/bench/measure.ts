// Measures one turn of one contender (load for some seconds, then the rest is handled), and the median of several turns.

import type { Contender } from "./contenders.ts";
import { createHistogram, type Histogram, median } from "./histogram.ts";
import { load } from "./load.ts";
import { proportionalMegabytes, usageOf } from "./process.ts";
import type { Requests } from "./requests.ts";
import type { Checked, Running } from "./servers.ts";

/** A running contender and the ids that it has answered so far. */
export interface Started extends Contender {
  running: Running | Checked;
  answered: string[];
}

export interface Turn {
  /** Responses with status 200 per second. */
  rate: number;
  /** Responses with status 200 per second, with the time counted until the last run was done; NaN for a server without handlers. */
  handledRate: number;
  /** From the last answer until the last run was done. NaN for a server without handlers. */
  remainingMs: number;
  latency: Histogram;
  wrong: number;
  /** CPU seconds per 10,000 requests, until all were handled. */
  cpuSeconds: number;
  /** The same of the database server; NaN for a server that has its database in its own process. */
  storeCpuSeconds: number;
  residentMegabytes: number;
  /** The memory of the database server; NaN as above. */
  storeMegabytes: number;
}

/** Measures one turn. The requests must be prepared, so that signing them is not measured. */
export async function turn(
  { running, answered, handles }: Pick<Started, "running" | "answered" | "handles">,
  options: { requests: Requests; connections: number; seconds: number; rate?: number },
): Promise<Turn> {
  const servers = [running, ...(running.siblings ?? [])];
  const usage = () => usageOf(...servers.map(({ pid }) => pid));
  const storeUsage = () => usageOf(...(running.storePid ? [running.storePid] : []));
  const [before, storeBefore] = [usage(), storeUsage()];
  const port = servers.map(({ port }) => port);
  const { answers, wrong, began, rate, latency, seconds } = await load({ ...options, port, answered });
  await running.settle();
  const elapsed = (performance.now() - began) / 1_000;
  const [after, storeAfter] = [usage(), storeUsage()];
  return {
    rate,
    handledRate: handles ? (answers - wrong) / elapsed : Number.NaN,
    remainingMs: handles ? (elapsed - seconds) * 1_000 : Number.NaN,
    latency,
    wrong,
    cpuSeconds: ((after.cpuSeconds - before.cpuSeconds) / answers) * 10_000,
    storeCpuSeconds: ((storeAfter.cpuSeconds - storeBefore.cpuSeconds) / answers) * 10_000,
    residentMegabytes: after.residentMegabytes,
    storeMegabytes: running.storePid ? proportionalMegabytes(running.storePid) : Number.NaN,
  };
}

/** The median of each figure, and the latencies of all turns merged. */
export function medianTurn(turns: readonly Turn[]): Turn {
  const latency = createHistogram();
  for (const { latency: other } of turns) latency.merge(other);
  const medianOf = (figure: (turn: Turn) => number) => median(turns.map(figure));
  return {
    rate: medianOf(({ rate }) => rate),
    handledRate: medianOf(({ handledRate }) => handledRate),
    remainingMs: medianOf(({ remainingMs }) => remainingMs),
    latency,
    wrong: turns.reduce((sum, { wrong }) => sum + wrong, 0),
    cpuSeconds: medianOf(({ cpuSeconds }) => cpuSeconds),
    storeCpuSeconds: medianOf(({ storeCpuSeconds }) => storeCpuSeconds),
    residentMegabytes: medianOf(({ residentMegabytes }) => residentMegabytes),
    storeMegabytes: medianOf(({ storeMegabytes }) => storeMegabytes),
  };
}
