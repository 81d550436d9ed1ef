// Counts runs that are not done, by handler and state, and how long the oldest due run has waited. Bounded in cost: each
// statement reads a part of one index, and a state of a handler is counted up to a limit.

import { query, type Reader, type Statement } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";
import { WAITING_HEADS } from "./claim.ts";
import { handlersOf, isLatest, RUNS } from "./run-sets.ts";

/** Runs of a handler in a state that is neither done nor skipped. `retrying`: waiting for the time of a retry. */
export interface BacklogCount {
  handler: string;
  state: "waiting" | "retrying" | "running" | "parked" | "dead";
  /** At most `MAX_COUNTED`. */
  count: number;
}

export interface Backlog {
  counts: BacklogCount[];
  /** How long the oldest live run that may start has waited to start; 0 when none waits. */
  oldestWaitingMs: number;
}

/** Each count ends here. An exact count of a million runs would take seconds, and changes nothing for its reader. */
export const MAX_COUNTED = 10_000;
// A millisecond or two on SQLite, where a statement blocks the event loop.
const SLICE = 1_000;

const COUNTED = (["waiting", "running", "dead", "parked"] as const).map((state) => {
  // Only a run that was not replayed counts as dead.
  const counted = state === "dead" ? `case when ${isLatest("run")} then 1 else 0 end` : "1";
  const slice = query({ handler: "text", before: "int", limit: "int" })`
    select count(*) as looked, min(seq) as last, coalesce(sum(counted), 0) as count from (
      select seq, ${counted} as counted from run
      where ${RUNS[state].where} and handler = :handler and seq < :before order by seq desc limit :limit
    ) as slice`;
  return { state, slice };
});

const PARKED = COUNTED.find(({ state }) => state === "parked")!.slice;

/** Heads that are due later: they wait for a retry. */
const RETRYING = query({ handler: "text", now: "int", limit: "int" })`
  select count(*) as count from (
    select 1 from order_key
    where state = 1 and exclusive = 0 and handler = :handler and bulk = 0 and due > :now limit :limit
  ) as slice`;

const NEWEST = query({ before: "int" })`
  select seq as arrival, received_at as "receivedAt" from delivery where seq < :before order by seq desc limit 1`;

export type Counts = ReturnType<typeof createCounts>;

export function createCounts({ read, now }: Pick<Access, "read" | "now">) {
  return {
    /** Counts the runs that are not done, in bounded time. */
    async backlog(): Promise<Backlog> {
      const counts: BacklogCount[] = [];
      for (const { state, slice } of COUNTED)
        for (const handler of await handlersOf(read, RUNS[state]))
          counts.push({ handler, state, count: await count(read, slice, handler) });
      for (const waiting of counts.filter(({ state }) => state === "waiting")) {
        const { handler } = waiting;
        const input = { handler, now: now(), limit: MAX_COUNTED };
        const { count: retrying } = await one<{ count: number }>(read, RETRYING, input);
        // Above the limit, how many of them wait for a retry is not known.
        if (waiting.count < MAX_COUNTED) waiting.count = Math.max(0, waiting.count - retrying);
        counts.push({ handler, state: "retrying", count: retrying });
      }
      return { counts, oldestWaitingMs: await oldestWaiting(read, now()) };
    },
    /** Counts the runs that wait for their handler's file. */
    async parked(): Promise<BacklogCount[]> {
      const counts: BacklogCount[] = [];
      for (const handler of await handlersOf(read, RUNS.parked))
        counts.push({ handler, state: "parked", count: await count(read, PARKED, handler) });
      return counts;
    },
    /** The last stored delivery, of any server. */
    async newestDelivery(): Promise<{ arrival: number; receivedAt: number } | null> {
      return (
        (await read.all<{ arrival: number; receivedAt: number }>(NEWEST, { before: Number.MAX_SAFE_INTEGER }))[0] ??
        null
      );
    },
  };
}

/** Runs of bulk replays don't count, which wait until live ones have run. */
async function oldestWaiting(reader: Reader, now: number): Promise<number> {
  const heads = await reader.all<{ bulk: number; due: number | null }>(WAITING_HEADS, { now });
  const due = heads.filter(({ bulk }) => bulk === 0).flatMap((head) => head.due ?? []);
  return Math.max(0, now - Math.min(now, ...due));
}

/** Counts in slices, newest first. */
async function count(reader: Reader, slice: Statement<any>, handler: string): Promise<number> {
  let [total, looked] = [0, 0];
  for (let before: number | null = Number.MAX_SAFE_INTEGER; before !== null && looked < MAX_COUNTED;) {
    type Slice = { count: number; looked: number; last: number | null };
    const found: Slice = await one<Slice>(reader, slice, { handler, before, limit: SLICE });
    total += found.count;
    looked += found.looked;
    before = found.looked < SLICE ? null : found.last;
  }
  return total;
}

async function one<Row>(reader: Reader, statement: Statement<any>, input: object): Promise<Row> {
  const [row] = await reader.all<Row>(statement, input);
  // On SQLite, `await` alone does not let anything else run.
  await new Promise((resolve) => setImmediate(resolve));
  return row!;
}
