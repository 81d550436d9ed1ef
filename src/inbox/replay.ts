// Adds runs to stored deliveries: to one by its id, to dead ones, to those that a handler never saw. They are read in
// slices, in the order of arrival or receipt. Under one replay id, a handler gets at most one run of a delivery.

import { matchesPattern } from "../clerk/pattern.ts";
import { deadHandlers, nextSlice } from "./cursor.ts";
import { createKeys, electWaiting, lockDeliveries, orderKeyOf } from "./ordering.ts";
import { makeDueNow } from "./parked.ts";
import { selects, SUMMARIES, type SummaryRow } from "./query.ts";
import { STATES } from "./schema.ts";
import { insertRows, query, type Reader, selectBy, type Transaction, updateBy } from "./store.ts";
import type {
  KnownHandler,
  ReplayCount,
  ReplayProgress,
  ReplaySelection,
  ReplayStep,
  ReplayStepRequest,
  RunRange,
} from "./views.ts";

const SLICE = 500;
// Beyond every arrival.
const END = Number.MAX_SAFE_INTEGER;

interface Candidate {
  seq: number;
  at: number;
  key: string;
  /** Null if the handler no longer exists. */
  handler: KnownHandler | null;
  wiped: boolean;
  stale: boolean;
}

interface RunRow {
  arrival: number;
  run: number;
  handler: string;
  replay: string;
  state: number;
}

const RUNS_OF = selectBy(
  "run r",
  "r.seq",
  { arrival: "int" },
  "r.seq as arrival, r.id as run, r.handler, r.replay, r.state",
);

const DONE_AT = selectBy("order_key k", "k.key", { key: "text" }, 'k.key, k.done_at as "doneAt"', {
  where: "k.done_at is not null",
});

const HAS_PAYLOAD = selectBy("payload p", "p.seq", { seq: "int" }, "p.seq");

const INSERT_RUN = insertRows(
  "run",
  {
    seq: "int", handler: "text", replay: "text", order_key: "text", at: "int",
    bulk: "int", due: "int", parked_at: "int",
  },
  { onConflict: "(seq, handler, replay) do nothing", id: "id", identifiedBy: ["seq", "handler"] },
); // prettier-ignore

const IN_BACK_OFF = selectBy("run r", "r.seq", { seq: "int", handler: "text", now: "int" }, "r.id as run", {
  where: ({ handler, now }) => `r.handler = ${handler} and r.state = 0 and r.due > ${now}`,
});

const HANDLED = updateBy("delivery", "seq", { seq: "int" }, "unhandled = 0", "unhandled = 1");

// A waiting run is active when its order key's head runs or is due, be it this run or another one.
const PROGRESS = query(
  { handler: "text", first: "int", last: "int", now: "int" },
  ({ handler, first, last, now }) => `
    select r.state,
      r.state = 1 or (r.state = 0 and r.parked_at is null and (k.state = 2 or k.due <= ${now})) as active,
      count(*) as runs
    from run r join order_key k on k.key = r.order_key
    where r.id between ${first} and ${last} and (${handler} is null or r.handler = ${handler}) and r.bulk = 1
    group by 1, 2`,
);

/** The state that the latest run of a handler must have; null for any. */
function wantedState({ filter: { state } }: ReplaySelection): number | null {
  if (state === "retrying") return -1; // No run: it is retried without a replay.
  return state == null || state === "unhandled" || state === "parked" ? null : STATES.indexOf(state);
}

/** The runs that could be added in the next slice beyond `after`. */
async function candidates(
  reader: Reader,
  selection: ReplaySelection,
  replay: string | null,
  after: number,
): Promise<{ found: Candidate[]; next: number | null }> {
  const { filter } = selection;
  const slice = await nextSlice(reader, filter, "up", after, SLICE);
  const arrivals = slice.arrivals.map((arrival) => ({ arrival }));
  const byArrival = new Map((await reader.all<SummaryRow>(SUMMARIES, arrivals)).map((row) => [row.arrival, row]));
  const rows = slice.arrivals.flatMap((arrival) => {
    const row = byArrival.get(arrival);
    return row && selects(filter, row) ? [row] : [];
  });
  const runs = Map.groupBy(await reader.all<RunRow>(RUNS_OF, rows), ({ arrival }) => arrival);
  const handlers = await candidateHandlers(reader, selection);
  const found = rows.flatMap((row) =>
    handlers
      .filter((handler) => isCandidate(selection, row, runs.get(row.arrival) ?? [], handler, replay))
      .map(({ name, known }) => candidate(row, name, known)),
  );
  await markStale(reader, found);
  return { found, next: slice.next };
}

interface CandidateHandler {
  name: string;
  known: KnownHandler | null;
}

async function candidateHandlers(reader: Reader, { filter, handlers }: ReplaySelection): Promise<CandidateHandler[]> {
  const known = handlers.map((handler): CandidateHandler => ({ name: handler.handler, known: handler }));
  const names = new Set(handlers.map(({ handler }) => handler));
  const gone = filter.state === "dead" ? (await deadHandlers(reader)).filter((name) => !names.has(name)) : [];
  return [...known, ...gone.map((name) => ({ name, known: null }))].filter(
    ({ name }) => filter.handler == null || filter.handler === name,
  );
}

function isCandidate(
  selection: ReplaySelection,
  row: SummaryRow,
  runs: readonly RunRow[],
  { name, known }: CandidateHandler,
  replay: string | null,
): boolean {
  const own = runs.filter(({ handler }) => handler === name);
  if (own.some((run) => run.replay === replay)) return false;
  if (selection.filter.neverSeenBy && own.some((run) => run.replay === "")) return false;
  const state = wantedState(selection);
  // A run in a wanted state proves that its handler takes the event.
  if (state === null) return known !== null && matchesPattern(known.event, row.type);
  const latest = own.reduce<RunRow | undefined>((a, b) => (a && a.run > b.run ? a : b), undefined);
  return latest?.state === state;
}

function candidate(row: SummaryRow, name: string, handler: KnownHandler | null): Candidate {
  const sample = row.sample === 1;
  return {
    seq: row.arrival,
    at: row.at,
    key: orderKeyOf(handler?.lane ?? name, { ...row, sample }),
    handler,
    wiped: Boolean(row.wiped),
    stale: false,
  };
}

async function markStale(reader: Reader, found: readonly Candidate[]): Promise<void> {
  const keys = [...new Set(found.map(({ key }) => key))].map((key) => ({ key }));
  const rows = await reader.all<{ key: string; doneAt: number }>(DONE_AT, keys);
  const doneAt = new Map(rows.map((row) => [row.key, row.doneAt]));
  for (const candidate of found) candidate.stale = (doneAt.get(candidate.key) ?? candidate.at) > candidate.at;
}

/** The runs that one step would add, and the counts of omitted ones. */
async function planStep(
  reader: Reader,
  selection: ReplaySelection,
  replay: string | null,
  after: number,
  limit: number,
): Promise<{ step: ReplayStep; runs: Candidate[] }> {
  const { found, next } = await candidates(reader, selection, replay, after);
  const isWanted = ({ handler, wiped, stale }: Candidate) => handler !== null && !wiped && (!stale || selection.stale);
  const wanted = found.filter(isWanted);
  const runs = wanted.slice(0, limit);
  const beyond = wanted[limit];
  // A delivery whose runs do not all fit is left to the next step.
  const covered = beyond
    ? found.slice(
        0,
        found.findIndex(({ seq }) => seq === beyond.seq),
      )
    : found;
  const left = covered.filter((candidate) => !isWanted(candidate));
  const gone = left.filter(({ handler }) => handler === null).length;
  const wiped = left.filter((candidate) => candidate.handler !== null && candidate.wiped).length;
  const end = beyond ? (covered.at(-1)?.seq ?? after) : next;
  return {
    step: { added: runs.length, stale: left.length - gone - wiped, wiped, gone, next: end, runs: null },
    runs,
  };
}

/** The result of a step, without writing it. */
export async function preview(reader: Reader, request: ReplayStepRequest): Promise<ReplayStep> {
  const { replay, after, limit } = request;
  return (await planStep(reader, request, replay, after, limit)).step;
}

export async function add(transaction: Transaction, request: ReplayStepRequest, now: number): Promise<ReplayStep> {
  const { replay, after, limit, bulk } = request;
  const { step, runs } = await planStep(transaction, request, replay, after, limit);
  // Retention on another server may be deleting these deliveries.
  await lockDeliveries(transaction, runs);
  const stored = new Set((await transaction.all<{ seq: number }>(HAS_PAYLOAD, runs)).map(({ seq }) => seq));
  const rows = runs
    .filter(({ seq }) => stored.has(seq))
    .map(({ seq, at, key, handler }) => ({
      seq,
      handler: handler!.handler,
      replay,
      order_key: key,
      at,
      bulk: Number(bulk),
      due: now,
      parked_at: handler!.parked ? now : null,
    }));
  const ids = await addRuns(transaction, rows, now);
  return {
    ...step,
    added: ids.length,
    runs: ids.length > 0 ? { first: Math.min(...ids), last: Math.max(...ids) } : null,
  };
}

async function addRuns(transaction: Transaction, rows: readonly RunInsert[], now: number): Promise<number[]> {
  if (rows.length === 0) return [];
  const keys = rows.map(({ order_key: key }) => ({ key }));
  await createKeys(transaction, keys);
  const inBackOff = await transaction.all<{ run: number }>(
    IN_BACK_OFF,
    rows.map((row) => ({ ...row, now })),
  );
  const ids = await transaction.insert(INSERT_RUN, rows);
  await transaction.run(HANDLED, rows);
  await makeDueNow(transaction, inBackOff, now);
  await electWaiting(transaction, keys);
  return ids.filter((id) => id !== null);
}

interface RunInsert {
  seq: number;
  handler: string;
  replay: string;
  order_key: string;
  at: number;
  bulk: number;
  due: number;
  parked_at: number | null;
}

/** Counts in slices, so that deliveries continue in between. Stops at `limit`. */
export async function count(reader: Reader, selection: ReplaySelection, limit: number): Promise<ReplayCount> {
  const sum = { found: 0, stale: 0, wiped: 0, gone: 0 };
  let after: number | null = 0;
  while (after !== null && sum.found < limit) {
    const { step }: { step: ReplayStep } = await planStep(reader, selection, null, after, END);
    sum.found += step.added;
    sum.stale += step.stale;
    sum.wiped += step.wiped;
    sum.gone += step.gone;
    after = step.next;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { ...sum, found: Math.min(sum.found, limit), more: sum.found >= limit };
}

export async function progress(
  reader: Reader,
  handler: string | null,
  { first, last }: RunRange,
  now: number,
): Promise<ReplayProgress> {
  type Row = { state: number; active: number | boolean; runs: number };
  const rows = await reader.all<Row>(PROGRESS, { handler, first, last, now });
  const sum = (of: (row: Row) => boolean) => rows.filter(of).reduce((total, row) => total + row.runs, 0);
  return {
    done: sum(({ state }) => state === 2),
    dead: sum(({ state }) => state === 3),
    skipped: sum(({ state }) => state === 4),
    waiting: sum(({ state }) => state < 2),
    active: sum(({ active }) => Boolean(active)),
  };
}
