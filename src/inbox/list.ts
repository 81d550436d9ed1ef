// Lists of deliveries for people, newest first, found in slices: however rare what is asked for is, deliveries and runs
// go on in between.

import type { Database } from "bun:sqlite";

import type { Begun, BegunRun } from "./begun.ts";
import { prepare } from "./prepare.ts";
import type { DeliverySummary, Listed, ListFilter, Page, RunSummary } from "./queries.ts";
import type { Receipts } from "./receipts.ts";
import { STATES } from "./statements.ts";
import { prefixOf, prepareWalk } from "./walk.ts";

// Measured: 2 µs for a delivery that is looked at, 50 µs for one that is shown with its runs.
const SLICE = 500;

type SummaryRow = Omit<DeliverySummary, "sample" | "wiped" | "runs"> & { sample: number; wiped: number };
type RunRow = Omit<RunSummary, "state" | "parked" | "due"> & { state: number; parked: number; due: number };
type Values = Record<string, string | number | null>;

/** One slice: what fits of it, and where the next one begins. */
export interface ListSlice {
  deliveries: DeliverySummary[];
  next: number | null;
}

/** `begun` are written nowhere yet: whoever reads while the disk refuses sees them all the same. */
export function prepareList(db: Database, clock: () => number, receipts: Receipts, begun: Pick<Begun, "of">) {
  const walk = prepareWalk(db, "down");
  const arrivalOf = prepare<{ seq: number }, [string]>(db, "select seq from delivery where id = ?");
  const fitting = prepare<SummaryRow, [Values]>(
    db,
    `
    select d.seq as arrival, id, type, subject, at, sample, received_at as receivedAt, receipts,
      not exists (select 1 from payload p where p.seq = d.seq) as wiped
    from (select value as arrived from json_each($arrivals)) cross join delivery d on d.seq = arrived
    where ($type is null or type = $type) and ($prefix is null or substr(type, 1, length($prefix)) = $prefix)
    and ($subject is null or subject = $subject) and received_at between $since and $until
    and ($unhandled = 0 or unhandled = 1)
    and ($anyRun = 1 or exists (
      select 1 from run r where r.seq = d.seq and ($handler is null or handler = $handler)
      and ($state is null or state = $state) and ($parked = 0 or parked_at is not null)))
    order by d.seq desc limit $limit`,
  );
  const runsOf = prepare<RunRow, [number]>(
    db,
    `
    select id as run, handler, replay, state, parked_at is not null as parked, due, reason,
      (select count(*) from attempt a where a.run = r.id) + (first_at is not null) as attempts,
      coalesce(first_took, (select took from attempt a where a.run = r.id order by n desc limit 1)) as took
    from run r where seq = ? order by id`,
  );

  function summary({ sample, wiped, ...row }: SummaryRow): DeliverySummary {
    const runs = runsOf.all(row.arrival).map(({ state, parked, due, ...run }) => {
      const name = STATES[state] ?? "waiting";
      const waits = name === "waiting" ? Math.max(0, due - clock()) : null;
      return { ...run, state: name, parked: Boolean(parked), due: waits };
    });
    return {
      ...row,
      sample: Boolean(sample),
      wiped: Boolean(wiped),
      runs: [...runs, ...begun.of(row.arrival).map(begunSummary)],
    };
  }

  return {
    /** At most `limit` deliveries of the slice that arrived before `before`. */
    listSlice(filter: ListFilter, before: number, limit: number): ListSlice {
      const { id = null, type = null, subject = null, handler = null, state = null } = filter;
      const { since = null, until = null } = filter;
      const { low, high } = receipts.between(since, until);
      const from = Math.min(before, high + 1);
      const standing = state === "done" ? null : state;
      const slice = id === null ? walk.slice({ subject, type, handler, standing }, from, SLICE) : only(id, from);
      const prefix = type === null ? null : prefixOf(type);
      const rows = fitting.all({
        arrivals: JSON.stringify(slice.arrivals.filter((arrival) => arrival >= low)),
        type: prefix === null ? type : null,
        prefix,
        subject,
        since: since ?? Number.MIN_SAFE_INTEGER,
        until: until ?? Number.MAX_SAFE_INTEGER,
        unhandled: Number(state === "unhandled"),
        anyRun: Number(handler === null && (state === null || state === "unhandled")),
        handler,
        state: state === null || state === "unhandled" ? null : state === "parked" ? 0 : STATES.indexOf(state),
        parked: Number(state === "parked"),
        limit,
      });
      const full = rows.length === limit;
      const next = full ? rows.at(-1)!.arrival : slice.next !== null && slice.next > low ? slice.next : null;
      return { deliveries: rows.map(summary), next };
    },
  };

  function only(id: string, from: number) {
    const arrival = arrivalOf.get(id)?.seq;
    return { arrivals: arrival !== undefined && arrival < from ? [arrival] : [], next: null };
  }
}

function begunSummary({ run, handler }: BegunRun): RunSummary {
  return {
    run,
    handler,
    replay: "",
    state: "running",
    parked: false,
    due: null,
    reason: null,
    attempts: 0,
    took: null,
  };
}

/** Slice by slice until the page is full, and lets everything else go on in between. */
export async function listSlices(
  slice: (before: number, limit: number) => ListSlice,
  { before, limit }: Page,
): Promise<Listed> {
  const deliveries: DeliverySummary[] = [];
  let next: number | null = before ?? Number.MAX_SAFE_INTEGER;
  while (next !== null && deliveries.length < limit) {
    const found = slice(next, limit - deliveries.length);
    deliveries.push(...found.deliveries);
    next = found.next;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { deliveries, next };
}
