// Reads stored deliveries in slices, up or down, along the index with the fewest candidates. A slice may contain
// deliveries that the filter does not select, but never omits one that it does.

import { STATES } from "../store/schema.ts";
import { query, type Reader, type Statement } from "../store/store.ts";
import { handlersOf, RUNS, type RunSet } from "./run-sets.ts";
import type { DeliveryFilter } from "./views.ts";

export type Direction = "up" | "down";

export interface Slice {
  arrivals: number[];
  /** Where the next slice begins; null at the end. */
  next: number | null;
}

export const NEWEST = Number.MAX_SAFE_INTEGER;

type Columns = { value: "text"; from: "int"; limit: "int"; since: "int"; until: "int" };
type Walk = Record<Direction, Statement<Columns>>;

const COLUMNS: Columns = { value: "text", from: "int", limit: "int", since: "int", until: "int" };

function walk(text: (isUp: boolean) => string): Walk {
  return { up: query(COLUMNS)`${text(true)}`, down: query(COLUMNS)`${text(false)}` };
}

/** In the order of arrival. */
function byArrival(table: string, where: string): Walk {
  return walk((isUp) => {
    const beyondCursor = isUp ? "seq > :from order by seq" : "seq < :from order by seq desc";
    return `select seq from ${table} where ${where} and ${beyondCursor} limit :limit`;
  });
}

const ALL = byArrival("delivery", "seq > 0");
// `seq + 0` forces the index of ids; in the order of arrival, all deliveries before this one would be read.
const OF_ID = walk((isUp) => `select seq from delivery where id = :value and seq + 0 ${isUp ? ">" : "<"} :from`);
const OF_SUBJECT = byArrival("delivery", "subject = :value");
const OF_TYPE = byArrival("delivery", "type = :value");
const UNHANDLED = byArrival("delivery", "unhandled = 1");

// The cursor is a delivery in this order too. If it was deleted meanwhile, its neighbour's time takes its place.
const RECEIVED = walk((isUp) => {
  const [beyond, order, end] = isUp ? [">", "", -NEWEST] : ["<", "desc", NEWEST];
  const near = isUp ? "seq <= :from order by seq desc" : "seq >= :from order by seq";
  return `
    select seq from delivery where received_at between :since and :until and (received_at, seq) ${beyond}
      (coalesce((select received_at from delivery where ${near} limit 1), ${end}), :from)
    order by received_at ${order}, seq ${order} limit :limit`;
});

/** Deliveries by their runs in a set. */
function byRuns(set: RunSet) {
  return { set, walk: byArrival("run", `${set.where} and handler = :value`) };
}

const [WAITING, PARKED] = [byRuns(RUNS.waiting), byRuns(RUNS.parked)];
// The index of dead runs also finds deliveries that were replayed since. The selection decides by the latest run.
const RUNS_IN_STATE = {
  parked: [PARKED],
  waiting: [WAITING, PARKED],
  retrying: [WAITING],
  running: [byRuns(RUNS.running)],
  dead: [byRuns(RUNS.dead)],
  skipped: [byRuns(RUNS.skipped)],
};

/** Deliveries by the runs of a problem, for each state of them. */
const OF_PROBLEM = STATES.map((_, state) => byArrival("run", `problem = :value and state = ${state}`));

const TYPES = query({ prefix: "text" })`
  with recursive t(type) as (
    select (select d.type from delivery d where d.type >= :prefix order by d.type limit 1)
    union all select (select d.type from delivery d where d.type > t.type order by d.type limit 1)
    from t where t.type is not null
  ) select type from t where type is not null`;

/** The walks that together find all deliveries of a filter, each with its value. */
async function walksOf(reader: Reader, filter: DeliveryFilter): Promise<[Walk, string | null][]> {
  const { id, subject, state, handler, problem, since, until } = filter;
  const type = filter.type ?? filter.neverSeenBy?.event;
  if (id) return [[OF_ID, id]];
  if (subject) return [[OF_SUBJECT, subject]];
  if (state === "unhandled") return [[UNHANDLED, null]];
  if (problem) {
    const stored = state && STATES.indexOf(state === "parked" || state === "retrying" ? "waiting" : state);
    return OF_PROBLEM.filter((_, index) => stored == null || index === stored).map((walk) => [walk, problem]);
  }
  if (state && state !== "done") {
    const walks: [Walk, string][] = [];
    for (const { set, walk } of RUNS_IN_STATE[state])
      for (const name of handler ? [handler] : await handlersOf(reader, set)) walks.push([walk, name]);
    return walks;
  }
  if (since != null || until != null) return [[RECEIVED, null]];
  if (!type || type === "*") return [[ALL, null]];
  if (!type.endsWith("*")) return [[OF_TYPE, type]];
  const prefix = type.slice(0, -1);
  const types = await reader.all<{ type: string }>(TYPES, { prefix });
  return types.filter((row) => row.type.startsWith(prefix)).map((row) => [OF_TYPE, row.type]);
}

/**
 * The next slice beyond the arrival `from`, of at most `size` deliveries, each once. In the order of arrival, or of
 * receipt when the filter has `since` or `until`.
 */
export async function nextSlice(
  reader: Reader,
  filter: DeliveryFilter,
  direction: Direction,
  from: number,
  size: number,
): Promise<Slice> {
  const range = { since: filter.since ?? -NEWEST, until: filter.until ?? NEWEST };
  const walks = await walksOf(reader, filter);
  const found = new Set<number>();
  for (const [statements, value] of walks) {
    const input = { from, limit: size, ...range, value };
    for (const { seq } of await reader.all<{ seq: number }>(statements[direction], input)) found.add(seq);
  }
  const arrivals = [...found];
  if (walks.length > 1) arrivals.sort((a, b) => (direction === "up" ? a - b : b - a));
  const slice = arrivals.slice(0, size);
  return { arrivals: slice, next: found.size < size ? null : (slice.at(-1) ?? null) };
}
