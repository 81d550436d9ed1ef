// Adds runs to stored deliveries: to one by its id, to dead ones, to those that a handler never saw. They are read in
// slices, in the order of arrival or receipt. Under one replay id, a handler gets at most one run of a delivery.

import { matchesPattern } from "../clerk/pattern.ts";
import { OPEN_STATES } from "../problems/record-failures.ts";
import { insertRows, query, type Reader, selectBy, type Transaction, updateBy } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";
import { createKeys, elect, lockDeliveries, orderKeyOf } from "./ordering.ts";
import { makeDueNow } from "./parked.ts";
import { nextSelected } from "./query.ts";
import { handlersOf, RUNS } from "./run-sets.ts";
import type {
  DeliverySummary,
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

/** A handler by its name; `known` is null if it no longer exists. */
interface NamedHandler {
  name: string;
  known: KnownHandler | null;
}

/** A run that could be added. */
interface Candidate {
  seq: number;
  at: number;
  key: string;
  handler: KnownHandler | null;
  /** Why it is not added. */
  leftOut: "gone" | "wiped" | "stale" | null;
}

const DONE_AT = selectBy("order_key k", "k.key", { key: "text" }, 'k.key, k.done_at as "doneAt"', {
  where: "k.done_at is not null",
});

const HAS_PAYLOAD = selectBy("payload p", "p.seq", { seq: "int" }, "p.seq");

const INSERT_RUN = insertRows(
  "run",
  {
    seq: "int", handler: "text", replay: "text", order_key: "text", at: "int",
    bulk: "int", due: "int", parked_at: "int", problem: "text",
  },
  { onConflict: "(seq, handler, replay) do nothing", id: "id", identifiedBy: ["seq", "handler"] },
); // prettier-ignore

const IN_BACK_OFF = selectBy("run r", "r.seq", { seq: "int", handler: "text", now: "int" }, "r.id as run", {
  where: "r.handler = :handler and r.state = 0 and r.due > :now",
});

const WITH_PROBLEM = selectBy(
  "run r",
  "r.seq",
  { seq: "int", handler: "text" },
  "r.id as run, r.seq, r.handler, r.problem",
  { where: `r.handler = :handler and r.problem is not null and r.state in ${OPEN_STATES}` },
);
const LEAVE_PROBLEM = updateBy("run.id", { run: "int" }, "problem = null");

const HANDLED = updateBy("delivery.seq", { seq: "int" }, "unhandled = 0", "unhandled = 1");

// A waiting run is active when its order key's head runs or is due, be it this run or another one.
const PROGRESS = query({ handler: "text", first: "int", last: "int", now: "int" })`
  select count(*) filter (where r.state = 2) as done, count(*) filter (where r.state = 3) as dead,
    count(*) filter (where r.state = 4) as skipped, count(*) filter (where r.state < 2) as waiting,
    count(*) filter (
      where r.state = 1 or (r.state = 0 and r.parked_at is null and (k.state = 2 or k.due <= :now))) as active
  from run r join order_key k on k.key = r.order_key
  where r.id between :first and :last and (:handler is null or r.handler = :handler) and r.bulk = 1`;

export type Replays = ReturnType<typeof createReplays>;

export function createReplays({ read, write, now }: Access) {
  return {
    /** Adds runs to stored deliveries, oldest first, in one commit of bounded size. Idempotent. */
    async replay(request: ReplayStepRequest): Promise<ReplayStep> {
      // A step that adds nothing needs no commit.
      const { step } = await planStep(read, request, now());
      return step.added === 0 ? step : write((transaction) => add(transaction, request, now()));
    },
    /** Counts what `replay` would add, until `limit` are found. Reads in slices, so that deliveries continue in between. */
    async countReplay(selection: ReplaySelection, limit = Infinity): Promise<ReplayCount> {
      const sum = { found: 0, stale: 0, wiped: 0, gone: 0 };
      const at = now();
      let after: number | null = 0;
      while (after !== null && sum.found < limit) {
        const request: Step = { ...selection, replay: null, after, limit: END };
        const { added, next, ...leftOut } = (await planStep(read, request, at)).step;
        sum.found += added;
        for (const reason of ["stale", "wiped", "gone"] as const) sum[reason] += leftOut[reason];
        after = next;
        await new Promise((resolve) => setImmediate(resolve));
      }
      return { ...sum, found: Math.min(sum.found, limit), more: sum.found >= limit };
    },
    /** Counts the runs of a bulk replay by state: those of `handler`, or all in the range. */
    async replayProgress(handler: string | null, { first, last }: RunRange): Promise<ReplayProgress> {
      const [found] = await read.all<ReplayProgress>(PROGRESS, { handler, first, last, now: now() });
      return found!;
    },
  };
}

async function candidateHandlers(reader: Reader, { filter, handlers }: ReplaySelection): Promise<NamedHandler[]> {
  const known = new Map(handlers.map((handler) => [handler.handler, handler]));
  const dead = filter.state === "dead" ? await handlersOf(reader, RUNS.dead) : [];
  return [...new Set([...known.keys(), ...dead])]
    .filter((name) => filter.handler == null || filter.handler === name)
    .map((name) => ({ name, known: known.get(name) ?? null }));
}

function isCandidate(
  { filter: { state, problem, neverSeenBy } }: ReplaySelection,
  { type, runs }: DeliverySummary,
  { name, known }: NamedHandler,
  replay: string | null,
): boolean {
  const own = runs.filter(({ handler }) => handler === name);
  if (own.some((run) => run.replay === replay)) return false;
  if (neverSeenBy && own.some((run) => run.replay === "")) return false;
  if (state === "unhandled" && runs.length > 0) return false;
  if (problem != null && own.at(-1)?.problem !== problem) return false;
  if (state == null || state === "unhandled" || state === "parked")
    return known !== null && matchesPattern(known.event, type);
  // A run in a wanted state proves that its handler takes the event. One that is `retrying` needs no replay.
  return own.at(-1)?.state === state;
}

function candidate(delivery: DeliverySummary, { name, known }: NamedHandler): Candidate {
  const { arrival, at, wiped } = delivery;
  const leftOut = known === null ? "gone" : wiped ? "wiped" : null;
  return { seq: arrival, at, key: orderKeyOf(known?.lane ?? name, delivery), handler: known, leftOut };
}

async function leaveOutStale(reader: Reader, found: readonly Candidate[]): Promise<void> {
  const keys = [...new Set(found.map(({ key }) => key))].map((key) => ({ key }));
  const rows = await reader.all<{ key: string; doneAt: number }>(DONE_AT, keys);
  const doneAt = new Map(rows.map((row) => [row.key, row.doneAt]));
  for (const candidate of found)
    if ((doneAt.get(candidate.key) ?? candidate.at) > candidate.at) candidate.leftOut ??= "stale";
}

/** An unfinished or dead run, whose problem its replay takes over. */
interface EarlierRun {
  run: number;
  seq: number;
  handler: string;
  problem: string;
}

/** `replay` is null if nothing is added. */
type Step = ReplaySelection & { replay: string | null; after: number; limit: number };

/** The runs that a step would add from its slice, and the counts of those that it leaves out. */
async function planStep(
  reader: Reader,
  { replay, after, limit, ...selection }: Step,
  now: number,
): Promise<{ step: ReplayStep; runs: Candidate[] }> {
  const { deliveries, next } = await nextSelected(reader, selection.filter, "up", after, SLICE, now);
  const handlers = await candidateHandlers(reader, selection);
  const found = deliveries.flatMap((delivery) =>
    handlers
      .filter((handler) => isCandidate(selection, delivery, handler, replay))
      .map((handler) => candidate(delivery, handler)),
  );
  if (!selection.stale) await leaveOutStale(reader, found);
  const wanted = found.filter(({ leftOut }) => leftOut === null);
  // A delivery whose runs do not all fit is left to the next step.
  const beyond = wanted[limit]?.seq;
  const cut = beyond === undefined ? found.length : found.findIndex(({ seq }) => seq === beyond);
  const covered = found.slice(0, cut);
  const count = (reason: Candidate["leftOut"]) => covered.filter(({ leftOut }) => leftOut === reason).length;
  const runs = wanted.slice(0, limit);
  const end = beyond === undefined ? next : (covered.at(-1)?.seq ?? after);
  const leftOut = { stale: count("stale"), wiped: count("wiped"), gone: count("gone") };
  return { step: { added: runs.length, ...leftOut, next: end, runs: null }, runs };
}

async function add(transaction: Transaction, request: ReplayStepRequest, now: number): Promise<ReplayStep> {
  const { step, runs } = await planStep(transaction, request, now);
  // Retention on another server may be deleting these deliveries.
  await lockDeliveries(transaction, runs);
  const stored = new Set((await transaction.all<{ seq: number }>(HAS_PAYLOAD, runs)).map(({ seq }) => seq));
  const added = runs.filter(({ seq }) => stored.has(seq));
  if (added.length === 0) return { ...step, added: 0 };
  await createKeys(transaction, added);
  const pairs = added.map(({ seq, handler }) => ({ seq, handler: handler!.handler, now }));
  const inBackOff = await transaction.all<{ run: number }>(IN_BACK_OFF, pairs);
  const earlier = new Map(
    (await transaction.all<EarlierRun>(WITH_PROBLEM, pairs)).map((run) => [`${run.seq} ${run.handler}`, run]),
  );
  const rows = added.map(({ seq, at, key, handler }) => ({
    seq,
    handler: handler!.handler,
    replay: request.replay,
    order_key: key,
    at,
    bulk: Number(request.bulk),
    due: now,
    parked_at: handler!.parked ? now : null,
    problem: earlier.get(`${seq} ${handler!.handler}`)?.problem ?? null,
  }));
  const inserted = await transaction.insert(INSERT_RUN, rows);
  const ids = inserted.filter((id) => id !== null);
  const replaced = rows.flatMap(({ seq, handler }, index) =>
    inserted[index] === null ? [] : (earlier.get(`${seq} ${handler}`) ?? []),
  );
  await transaction.run(LEAVE_PROBLEM, replaced);
  await transaction.run(HANDLED, rows);
  await makeDueNow(transaction, inBackOff, now);
  await elect(transaction, added);
  const range = ids.length > 0 ? { first: Math.min(...ids), last: Math.max(...ids) } : null;
  return { ...step, added: ids.length, runs: range };
}
