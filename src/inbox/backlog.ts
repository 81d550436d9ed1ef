// Counts runs that are not done, by handler and state, and how long the oldest due run has waited. Bounded in cost: each
// statement reads a part of one index, and a state of a handler is counted up to a limit.

import { WAITING_HEADS } from "./claim.ts";
import { DEAD, RUNNING, STATES, WAITING } from "./schema.ts";
import { query, type Reader } from "./store.ts";
import type { Backlog, BacklogCount } from "./views.ts";

/** Each count ends here. An exact count of a million runs would take seconds, and changes nothing for its reader. */
export const MAX_COUNTED = 10_000;
// A folder has a few dozen, but renamed ones have left runs, too.
const MAX_HANDLERS = 1_000;
// A millisecond or two on SQLite, where a statement blocks the event loop.
const SLICE = 1_000;

/** From one handler to the next by the index: a probe for each, however many runs it has. */
const NEXT_HANDLER = query({ state: "int", handler: "text" })`
  select handler from run
  where state = :state and handler > :handler and state <> 2 and parked_at is null
  order by handler limit 1`;

const NEXT_PARKED = query({ handler: "text" })`
  select handler from run where parked_at is not null and handler > :handler order by handler limit 1`;

const RUNS = query({ state: "int", handler: "text", before: "int", limit: "int" })`
  select count(*) as count, min(seq) as last from (
    select seq from run
    where state = :state and handler = :handler and seq < :before and state <> 2 and parked_at is null
    order by seq desc limit :limit
  ) as slice`;

/** A dead run that was replayed is no longer counted: the latest run of a handler and delivery decides. */
const DEAD_RUNS = query({ handler: "text", before: "int", limit: "int" })`
  select count(*) as looked, min(seq) as last, coalesce(sum(is_latest), 0) as count from (
    select r.seq, case when (
      select later.id from run later
      where later.seq = r.seq and later.handler = r.handler and later.id > r.id limit 1
    ) is null then 1 else 0 end as is_latest
    from run r
    where r.state = 3 and r.handler = :handler and r.seq < :before and r.state <> 2 and r.parked_at is null
    order by r.seq desc limit :limit
  ) as slice`;

const PARKED = query({ handler: "text", before: "int", limit: "int" })`
  select count(*) as count, min(seq) as last from (
    select seq from run where parked_at is not null and handler = :handler and seq < :before
    order by seq desc limit :limit
  ) as slice`;

/** Heads that are due later: they wait for a retry. */
const RETRYING = query({ handler: "text", now: "int", limit: "int" })`
  select count(*) as count from (
    select 1 from order_key
    where state = 1 and exclusive = 0 and handler = :handler and bulk = 0 and due > :now limit :limit
  ) as slice`;

const NEWEST = query({ before: "int" })`
  select seq as arrival, received_at as "receivedAt" from delivery where seq < :before order by seq desc limit 1`;

type AnyStatement = Parameters<Reader["all"]>[0];

interface Slice {
  count: number;
  looked?: number;
  last: number | null;
}

export async function backlog(reader: Reader, now: number): Promise<Backlog> {
  const counts: BacklogCount[] = [];
  for (const state of [WAITING, RUNNING] as const)
    for (const handler of await handlersIn(reader, NEXT_HANDLER, { state }))
      counts.push({
        handler,
        state: STATES[state],
        count: await count((slice) => one(reader, RUNS, { state, handler, ...slice })),
      });
  for (const handler of await handlersIn(reader, NEXT_HANDLER, { state: DEAD }))
    counts.push({
      handler,
      state: "dead",
      count: await count((slice) => one(reader, DEAD_RUNS, { handler, ...slice })),
    });
  for (const waiting of counts.filter(({ state }) => state === "waiting")) {
    const { handler } = waiting;
    const retrying = await one<{ count: number }>(reader, RETRYING, { handler, now, limit: MAX_COUNTED });
    // Above the limit, how many of them wait for a retry is not known.
    if (waiting.count < MAX_COUNTED) waiting.count = Math.max(0, waiting.count - retrying.count);
    counts.push({ handler, state: "retrying", count: retrying.count });
  }
  for (const handler of await handlersIn(reader, NEXT_PARKED, {}))
    counts.push({
      handler,
      state: "parked",
      count: await count((slice) => one(reader, PARKED, { handler, ...slice })),
    });
  return { counts, oldestWaitingMs: await oldestWaiting(reader, now) };
}

/** The last stored delivery of any server. */
export async function newestDelivery(reader: Reader): Promise<{ arrival: number; receivedAt: number } | null> {
  const [newest] = await reader.all<{ arrival: number; receivedAt: number }>(NEWEST, {
    before: Number.MAX_SAFE_INTEGER,
  });
  return newest ?? null;
}

/** Runs of bulk replays don't count, which wait until live ones have run. */
async function oldestWaiting(reader: Reader, now: number): Promise<number> {
  const heads = await reader.all<{ bulk: number; due: number | null }>(WAITING_HEADS, { now });
  const due = heads.filter(({ bulk }) => bulk === 0).flatMap((head) => head.due ?? []);
  return Math.max(0, now - Math.min(now, ...due));
}

async function handlersIn(reader: Reader, next: AnyStatement, input: object): Promise<string[]> {
  const found: string[] = [];
  let handler: string | undefined = "";
  while (handler !== undefined && found.length < MAX_HANDLERS) {
    const rows: { handler: string }[] = await reader.all<{ handler: string }>(next, { ...input, handler });
    handler = rows[0]?.handler;
    if (handler !== undefined) found.push(handler);
  }
  return found;
}

/** Counts in slices, newest first. */
async function count(slice: (page: { before: number; limit: number }) => Promise<Slice>): Promise<number> {
  let [total, looked, before] = [0, 0, Number.MAX_SAFE_INTEGER];
  while (looked < MAX_COUNTED) {
    const found: Slice = await slice({ before, limit: SLICE });
    total += found.count;
    looked += found.looked ?? found.count;
    if ((found.looked ?? found.count) < SLICE || found.last === null) break;
    before = found.last;
  }
  return total;
}

async function one<Row = Slice>(reader: Reader, statement: AnyStatement, input: object): Promise<Row> {
  const [row] = await reader.all<Row>(statement, input);
  // On SQLite, `await` alone does not let anything else run.
  await new Promise((resolve) => setImmediate(resolve));
  return row!;
}
