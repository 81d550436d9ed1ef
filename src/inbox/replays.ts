// Deliveries that are run again in bulk: the dead ones, or all that fit. They are looked for in the order of arrival, a
// slice at a time. A run that a command has made is not made again by it, whatever has become of it since.

import type { Database } from "bun:sqlite";

import { lineOf } from "./inbox.ts";
import type { Lines } from "./lines.ts";
import { prepare } from "./prepare.ts";
import type { Replayable, ReplayHandler, ReplayQuery, ReplayStep } from "./queries.ts";
import type { Receipts } from "./receipts.ts";
import type { Statements } from "./statements.ts";
import { prefixOf, prepareWalk } from "./walk.ts";

// Measured: 3 µs for a delivery and handler that is looked at.
const SLICE = 500;

interface Row {
  seq: number;
  at: number;
  subject: string | null;
  sample: number;
  stale: number;
  wiped: number;
}

interface Candidate extends Row {
  /** Null: there is no such handler any more. */
  handler: ReplayHandler | null;
}

type Values = Record<string, string | number | null>;

interface Asked {
  query: ReplayQuery;
  handlers: readonly ReplayHandler[];
  /** Null to count. */
  replay: string | null;
  after: number;
  limit: number;
}

export function prepareReplays(db: Database, sql: Statements, lines: Lines, receipts: Receipts) {
  const walk = prepareWalk(db, "up");
  const newestRun = prepare<{ id: number | null }, []>(db, "select max(id) as id from run");
  // The line of a delivery is that of `lineOf`.
  const candidates = prepare<Row, [Values]>(
    db,
    `
    select d.seq, d.at, subject, sample, coalesce(m.at > d.at, 0) as stale,
      not exists (select 1 from payload p where p.seq = d.seq) as wiped
    from (select value as arrived from json_each($arrivals)) cross join delivery d on d.seq = arrived
    left join mark m on m.lane = $lane and m.line = iif(sample, 'sample ' || subject, subject)
    where ($type is null or type = $type) and ($prefix is null or substr(type, 1, length($prefix)) = $prefix)
    and ($event is null or type = $event) and ($events is null or substr(type, 1, length($events)) = $events)
    and ($subject is null or subject = $subject) and received_at between $since and $until
    and not exists (select 1 from run r where r.seq = d.seq and r.handler = $handler and r.replay = $replay)
    and ($dead = 0 or 3 = (
      select state from run r where r.seq = d.seq and r.handler = $handler order by id desc limit 1))
    order by d.seq`,
  );

  function ofHandler({ query, replay }: Asked, arrivals: string, name: string, handler: ReplayHandler | null) {
    const prefix = query.type === null ? null : prefixOf(query.type);
    // A dead run tells by itself that the handler was for this event.
    const event = query.dead || !handler ? null : handler.event;
    const events = event === null ? null : prefixOf(event);
    const rows = candidates.all({
      arrivals,
      lane: handler?.lane ?? null,
      type: prefix === null ? query.type : null,
      prefix,
      event: events === null ? event : null,
      events,
      subject: query.subject,
      since: query.since ?? Number.MIN_SAFE_INTEGER,
      until: query.until ?? Number.MAX_SAFE_INTEGER,
      handler: name,
      replay,
      dead: Number(query.dead),
    });
    return rows.map((row): Candidate => ({ ...row, handler }));
  }

  function slice(asked: Asked): { found: Candidate[]; next: number | null } {
    const { query, handlers, after } = asked;
    const { low, high } = receipts.between(query.since, query.until);
    const standing = query.dead ? "dead" : null;
    const { arrivals, next } = walk.slice({ ...query, standing }, Math.max(after, low - 1), SLICE);
    const fitting = JSON.stringify(arrivals.filter((arrival) => arrival <= high));
    const wanted = handlers.filter(({ handler }) => query.handler === null || handler === query.handler);
    const gone = (query.dead ? walk.deadHandlers() : []).filter(
      (name) => (query.handler === null || name === query.handler) && !handlers.some(({ handler }) => handler === name),
    );
    const found = [
      ...wanted.flatMap((handler) => ofHandler(asked, fitting, handler.handler, handler)),
      ...gone.flatMap((name) => ofHandler(asked, fitting, name, null)),
    ];
    return { found: found.toSorted((a, b) => a.seq - b.seq), next: next !== null && next < high ? next : null };
  }

  /** One step, and with `write: false` what it would add. */
  function step(asked: Asked, write: boolean): ReplayStep {
    const { found, next } = slice(asked);
    const wanted = found.filter((each) => isWanted(each, asked.query));
    const [taken, beyond] = [wanted.slice(0, asked.limit), wanted[asked.limit]];
    // A delivery whose runs do not all fit is looked at again by the next step.
    const end = beyond ? beyond.seq - 1 : (next ?? Number.MAX_SAFE_INTEGER);
    const before = write ? (newestRun.get()?.id ?? 0) : 0;
    if (write) for (const each of taken) add(each, asked.replay ?? "");
    const last = write ? (newestRun.get()?.id ?? 0) : 0;
    return {
      ...leftOut(
        found.filter(({ seq }) => seq <= end),
        asked.query,
      ),
      added: taken.length,
      next: beyond ? end : next,
      runs: last > before ? { first: before + 1, last } : null,
    };
  }

  function add({ seq, at, subject, sample, handler }: Candidate, replay: string) {
    if (!handler) return;
    lines.hurry(seq, handler.handler);
    sql.handled.run(seq);
    lines.addRuns(seq, at, lineOf(subject, sample === 1), replay, [handler], true);
  }

  return {
    /** What of the next slice would be added, and where the one after it begins. */
    countReplays(query: ReplayQuery, handlers: readonly ReplayHandler[], after: number): ReplayStep {
      return step({ query, handlers, replay: null, after, limit: Infinity }, false);
    },

    lookForReplays: (asked: Asked): ReplayStep => step(asked, false),

    addReplays: (asked: Asked): ReplayStep => step(asked, true),
  };
}

/** Counts slice by slice, and lets everything else go on in between. Stops when it has found `limit`. */
export async function countReplaySlices(count: (after: number) => ReplayStep, limit: number): Promise<Replayable> {
  const sum = { found: 0, stale: 0, wiped: 0, gone: 0 };
  let after: number | null = 0;
  while (after !== null && sum.found < limit) {
    const { added, stale, wiped, gone, next } = count(after);
    sum.found += added;
    sum.stale += stale;
    sum.wiped += wiped;
    sum.gone += gone;
    after = next;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { ...sum, found: Math.min(sum.found, limit), more: sum.found >= limit };
}

function isWanted({ handler, stale, wiped }: Candidate, query: ReplayQuery): boolean {
  return handler !== null && wiped === 0 && (stale === 0 || query.stale);
}

function leftOut(found: readonly Candidate[], query: ReplayQuery) {
  const left = found.filter((each) => !isWanted(each, query));
  const gone = left.filter(({ handler }) => handler === null).length;
  const wiped = left.filter(({ handler, wiped }) => handler !== null && wiped === 1).length;
  return { gone, wiped, stale: left.length - gone - wiped };
}
