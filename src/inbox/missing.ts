// Stored deliveries that a handler never saw. No index leads to them, since each would cost every delivery: they are
// looked for in the order of arrival, a slice at a time, so that deliveries and runs go on in between.

import type { Database } from "bun:sqlite";

import { lineOf, type NewRun } from "./inbox.ts";
import { prepare } from "./prepare.ts";
import type { Missing, MissingQuery, MissingStep, RunStates } from "./queries.ts";

// Measured: 0.1 to 0.6 µs for a delivery that is looked at, 15 µs for a run that is added.
const SLICE = 1_000;

interface MissingRow {
  seq: number;
  at: number;
  subject: string | null;
  sample: number;
  stale: number;
  wiped: number;
}

interface Bounds {
  from: number | null;
  to: number | null;
}

type AddRuns = (
  seq: number,
  at: number,
  line: string | null,
  replay: string,
  runs: readonly NewRun[],
  bulk: boolean,
) => number;

type Values = Record<string, string | number | null>;

export function prepareMissing(db: Database, clock: () => number, addRuns: AddRuns) {
  const older = prepare<Bounds, [number]>(
    db,
    `select min(seq) as 'from', max(seq) as 'to' from (select seq from delivery where seq < ? order by seq desc limit ${SLICE})`,
  );
  const newer = prepare<Bounds, [number]>(
    db,
    `select min(seq) as 'from', max(seq) as 'to' from (select seq from delivery where seq > ? order by seq limit ${SLICE})`,
  );
  // The line of a delivery is that of `lineOf`.
  const slice = prepare<MissingRow, [Values]>(
    db,
    `
    select d.seq, d.at, subject, sample, coalesce(m.at > d.at, 0) as stale,
      not exists (select 1 from payload p where p.seq = d.seq) as wiped
    from delivery d
    left join mark m on m.lane = $lane and m.line = iif(sample, 'sample ' || subject, subject)
    where d.seq between $from and $to and received_at >= $since
    and ($type is null or type = $type) and ($prefix is null or substr(type, 1, length($prefix)) = $prefix)
    and not exists (select 1 from run r where r.seq = d.seq and r.handler = $handler and r.replay = '')
    order by d.seq limit $limit`,
  );
  const newestRun = prepare<{ id: number | null }, []>(db, "select max(id) as id from run");
  // What goes, or goes as soon as a slot is free: its line's head is running or due, be it this run or another one.
  const states = prepare<RunStates, [Values]>(
    db,
    `
    select coalesce(sum(state = 2), 0) as done, coalesce(sum(state = 3), 0) as dead,
      coalesce(sum(state = 4), 0) as skipped, coalesce(sum(state < 2), 0) as waiting,
      coalesce(sum(state = 1 or (state = 0 and parked_at is null and iif(head = 1, due <= $now, exists (
        select 1 from run h where h.lane = r.lane and h.line = r.line and h.head = 1 and h.state < 2
        and (h.state = 1 or h.due <= $now))))), 0) as going
    from run r where id between $first and $last and ($handler is null or handler = $handler) and bulk = 1`,
  );

  function rowsBetween({ handler, lane, event, since }: MissingQuery, from: number, to: number, limit: number) {
    const prefix = event.endsWith("*") ? event.slice(0, -1) : null;
    const type = prefix === null ? event : null;
    return slice.all({ handler, lane, since: since ?? -1, type, prefix, from, to, limit });
  }

  /** One step of adding, and with `write: false` what it would add. */
  function step(query: MissingQuery, after: number, limit: number, write: boolean): MissingStep {
    const { from, to } = newer.get(after) ?? { from: null, to: null };
    if (from === null || to === null) return { added: 0, stale: 0, wiped: 0, next: null, runs: null };
    const rows = rowsBetween(query, from, to, limit);
    const { handler, lane } = query;
    const before = write ? (newestRun.get()?.id ?? 0) : 0;
    const found = tally(rows, query);
    if (write)
      for (const row of rows.filter((each) => isWanted(each, query)))
        addRuns(row.seq, row.at, lineOf(row.subject, row.sample === 1), "", [{ handler, lane, parked: false }], true);
    const last = write ? (newestRun.get()?.id ?? 0) : 0;
    return {
      added: found.found,
      stale: found.stale,
      wiped: found.wiped,
      next: rows.length === limit ? (rows.at(-1)?.seq ?? to) : to,
      runs: last > before ? { first: before + 1, last } : null,
    };
  }

  return {
    /** The newest slice of what arrived before `before`; `next` is where the next one ends, null when there is none. */
    countMissing(query: MissingQuery, before: number): Omit<Missing, "more"> & { next: number | null } {
      const { from, to } = older.get(before) ?? { from: null, to: null };
      if (from === null || to === null) return { found: 0, stale: 0, wiped: 0, next: null };
      return { ...tally(rowsBetween(query, from, to, SLICE), query), next: from };
    },

    /** What the next step would add, without writing. */
    lookForMissing: (query: MissingQuery, after: number, limit: number): MissingStep =>
      step(query, after, limit, false),

    addMissing: (query: MissingQuery, after: number, limit: number): MissingStep => step(query, after, limit, true),

    states: (handler: string | null, { first, last }: { first: number; last: number }): RunStates =>
      states.get({ handler, first, last, now: clock() }) ?? { done: 0, dead: 0, skipped: 0, waiting: 0, going: 0 },
  };
}

/** Counts slice by slice, newest first, and lets everything else go on in between. Stops when it has found `limit`. */
export async function countSlices(
  count: (before: number) => Omit<Missing, "more"> & { next: number | null },
  limit: number,
): Promise<Missing> {
  const sum = { found: 0, stale: 0, wiped: 0 };
  let before: number | null = Number.MAX_SAFE_INTEGER;
  while (before !== null && sum.found < limit) {
    const { found, stale, wiped, next } = count(before);
    sum.found += found;
    sum.stale += stale;
    sum.wiped += wiped;
    before = next;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { ...sum, found: Math.min(sum.found, limit), more: sum.found >= limit };
}

function isWanted({ stale, wiped }: MissingRow, query: MissingQuery): boolean {
  return wiped === 0 && (stale === 0 || query.stale);
}

function tally(rows: readonly MissingRow[], query: MissingQuery) {
  const wiped = rows.filter((row) => row.wiped === 1).length;
  const found = rows.filter((row) => isWanted(row, query)).length;
  return { found, stale: rows.length - wiped - found, wiped };
}
