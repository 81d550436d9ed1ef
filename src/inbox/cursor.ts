// Reads stored deliveries in slices, up or down, along the index with the fewest candidates. A slice may contain
// deliveries that the filter does not select, but never omits one that it does.

import { handlersWith } from "./parked.ts";
import { query, type Reader, type RowOf, type Statement } from "./store.ts";
import type { DeliveryFilter } from "./views.ts";

export type Direction = "up" | "down";

export interface Slice {
  arrivals: number[];
  /** Where the next slice begins; null at the end. */
  next: number | null;
}

export const NEWEST = Number.MAX_SAFE_INTEGER;

type Columns = { value: "text"; from: "int"; limit: "int"; since: "int"; until: "int"; position: "int" };
type Stream = [statement: Statement<Columns>, value: string | null];

const COLUMNS: Columns = { value: "text", from: "int", limit: "int", since: "int", until: "int", position: "int" };
const STATES = { waiting: 0, running: 1, done: 2, dead: 3, skipped: 4 };
const inState = (state: number) => `state = ${state} and state <> 2 and parked_at is null`;
const PARKED = "parked_at is not null";

/** The same statements for both directions. */
function statements(direction: Direction) {
  const [beyond, order] = direction === "up" ? [">", "asc"] : ["<", "desc"];
  const stream = (table: string, where: (parameters: { readonly value: string }) => string) =>
    query(COLUMNS, (p) => {
      const beyondCursor = `seq ${beyond} ${p.from} order by seq ${order} limit ${p.limit}`;
      return `select seq from ${table} where ${where(p)} and ${beyondCursor}`;
    });
  const runs = (where: string) => stream("run", (p) => `${where} and handler = ${p.value}`);
  return {
    all: stream("delivery", () => "seq > 0"),
    // `seq + 0` forces the index of ids; in the order of arrival, all deliveries before this one would be read.
    ofId: query(COLUMNS, (p) => `select seq from delivery where id = ${p.value} and seq + 0 ${beyond} ${p.from}`),
    ofSubject: stream("delivery", (p) => `subject = ${p.value}`),
    ofType: stream("delivery", (p) => `type = ${p.value}`),
    unhandled: stream("delivery", () => "unhandled = 1"),
    parked: runs(PARKED),
    inState: Object.values(STATES).map((state) => runs(inState(state))),
    received: query(
      COLUMNS,
      ({ from, limit, since, until, position }) => `
        select seq from delivery where received_at between ${since} and ${until}
        and (received_at, seq) ${beyond} (${position}, ${from})
        order by received_at ${order}, seq ${order} limit ${limit}`,
    ),
  };
}

const WALK = { up: statements("up"), down: statements("down") };

const HANDLERS_IN_STATE = Object.values(STATES).map((state) => handlersWith(inState(state)));
const HANDLERS_PARKED = handlersWith(PARKED);

const TYPES = query(
  { prefix: "text" },
  ({ prefix }) => `
  with recursive t(type) as (
    select (select d.type from delivery d where d.type >= ${prefix} order by d.type limit 1)
    union all select (select d.type from delivery d where d.type > t.type order by d.type limit 1)
    from t where t.type is not null
  ) select type from t where type is not null`,
);

const RECEIVED_AT = query(
  { from: "int" },
  ({ from }) => `select received_at as "receivedAt" from delivery where seq <= ${from} order by seq desc limit 1`,
);

/** The handlers that have dead runs. */
export async function deadHandlers(reader: Reader): Promise<string[]> {
  return names(reader, HANDLERS_IN_STATE[STATES.dead]!);
}

async function names(reader: Reader, statement: Statement<{}>): Promise<string[]> {
  return (await reader.all<{ handler: string }>(statement, {})).map(({ handler }) => handler);
}

async function streams(reader: Reader, filter: DeliveryFilter, direction: Direction): Promise<Stream[]> {
  const { id, subject, state, handler, since, until } = filter;
  const walk = WALK[direction];
  const type = filter.type ?? filter.neverSeenBy?.event;
  const ofHandlers = async (statement: Statement<Columns>, handlers: Statement<{}>): Promise<Stream[]> =>
    (handler ? [handler] : await names(reader, handlers)).map((name) => [statement, name]);
  const ofRuns = (index: number) => ofHandlers(walk.inState[index]!, HANDLERS_IN_STATE[index]!);
  if (id) return [[walk.ofId, id]];
  if (subject) return [[walk.ofSubject, subject]];
  if (state === "unhandled") return [[walk.unhandled, null]];
  if (state === "parked") return ofHandlers(walk.parked, HANDLERS_PARKED);
  if (state === "waiting")
    return [...(await ofRuns(STATES.waiting)), ...(await ofHandlers(walk.parked, HANDLERS_PARKED))];
  if (state === "retrying") return ofRuns(STATES.waiting);
  // The index of dead runs also finds deliveries that were replayed since. The selection decides by the latest run.
  if (state && state !== "done") return ofRuns(STATES[state]);
  if (since != null || until != null) return [[walk.received, null]];
  if (!type || type === "*") return [[walk.all, null]];
  if (!type.endsWith("*")) return [[walk.ofType, type]];
  const prefix = type.slice(0, -1);
  const types = await reader.all<{ type: string }>(TYPES, { prefix });
  return types.filter((row) => row.type.startsWith(prefix)).map((row) => [walk.ofType, row.type]);
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
  const selected = await streams(reader, filter, direction);
  const parameters = {
    from,
    limit: size,
    since: filter.since ?? -NEWEST,
    until: filter.until ?? NEWEST,
    position: await positionOf(reader, from, direction),
  } satisfies Omit<RowOf<Columns>, "value">;
  const found = new Set<number>();
  for (const [statement, value] of selected)
    for (const { seq } of await reader.all<{ seq: number }>(statement, { ...parameters, value })) found.add(seq);
  const arrivals = [...found];
  if (selected.length > 1) arrivals.sort((a, b) => (direction === "up" ? a - b : b - a));
  const slice = arrivals.slice(0, size);
  return { arrivals: slice, next: found.size < size ? null : (slice.at(-1) ?? null) };
}

/** The receipt time of the delivery at which a cursor in the order of receipt continues. */
async function positionOf(reader: Reader, from: number, direction: Direction): Promise<number> {
  if (from === 0) return -NEWEST;
  if (from === NEWEST) return NEWEST;
  const [row] = await reader.all<{ receivedAt: number }>(RECEIVED_AT, { from });
  return row?.receivedAt ?? (direction === "up" ? -NEWEST : NEWEST);
}
