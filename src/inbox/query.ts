// Views of the inbox for people: one delivery with its runs, and lists of deliveries. Lists are read in slices, so that
// deliveries and runs continue in between, however rare the selected deliveries are.

import { matchesPattern } from "../clerk/pattern.ts";
import { STATES, WAITING } from "../store/schema.ts";
import { query, type Reader, selectBy } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";
import { type Direction, NEWEST, nextSlice } from "./cursor.ts";
import type { AttemptRecord, ErrorRecord, RunState } from "./inbox.ts";
import { isLatest } from "./run-sets.ts";
import type {
  DeliveryContent,
  DeliveryFilter,
  DeliveryList,
  DeliverySummary,
  DeliveryView,
  Page,
  RunKey,
  RunSummary,
  RunView,
  WroteRuns,
} from "./views.ts";

const SLICE = 200;

const DELIVERY = query({ id: "text" })`
  select d.seq, d.id, d.type, d.subject, d.at, d.sample, d.received_at as "receivedAt", d.receipts, p.headers, p.body
  from delivery d left join payload p on p.seq = d.seq where d.id = :id`;

const ATTEMPTS = query({ seq: "int" })`
  select id as run, 1 as attempt, first_at as "startedAt", first_took as took, 'done' as outcome,
    null as error, null as log
  from run where seq = :seq and first_at is not null
  union all select a.run, a.n, a.started_at, a.took, a.outcome, a.error, a.log
  from attempt a join run r on r.id = a.run where r.seq = :seq order by run, attempt`;

const SUMMARIES = selectBy(
  "delivery d",
  "d.seq",
  { arrival: "int" },
  `d.seq as arrival, d.id, d.type, d.subject, d.at, d.sample, d.received_at as "receivedAt", d.receipts,
    (select p.seq from payload p where p.seq = d.seq) is null as wiped`,
);

const RUN_SUMMARIES = selectBy(
  "run r",
  "r.seq",
  { arrival: "int" },
  `r.seq as arrival, r.id as run, r.handler, r.replay, r.state, r.parked_at is not null as parked, r.due,
    r.reason, r.problem,
    case when r.first_at is not null then 1 when r.attempts > 0 then (select count(*) from attempt a where a.run = r.id)
      else 0 end as attempts,
    case when r.first_at is not null then r.first_took
      when r.attempts > 0 then (select a.took from attempt a where a.run = r.id order by a.n desc limit 1) end as took,
    case when r.attempts > 0 and r.state in (0, 1, 3)
      then (select a.error from attempt a where a.run = r.id order by a.n desc limit 1) end as error`,
);

const CONTENT = `d.seq as arrival, d.id, d.type, d.subject, (select p.body from payload p where p.seq = d.seq) as body`;
const CONTENTS_OF = selectBy("delivery d", "d.seq", { arrival: "int" }, CONTENT);
const CONTENTS_BELOW = query({ before: "int", limit: "int" })`
  select ${CONTENT} from delivery d where d.seq < :before order by d.seq desc limit :limit`;

// Counts all runs, whether they wrote or not, so that one statement takes a few milliseconds.
const WROTE_PAGE = 1_000;

const NEWEST_RUN = query({ before: "int" })`select id from run where id < :before order by id desc limit 1`;

/** Only the latest run of each handler and delivery counts. */
const WROTE = query({ from: "int", before: "int" })`
  select d.id as delivery, r.handler, r.replay from run r join delivery d on d.seq = r.seq
  where r.id >= :from and r.id < :before and r.state = 2 and r.wrote = 1 and ${isLatest("r")}
  order by r.id desc`;

type SummaryRow = Omit<DeliverySummary, "sample" | "wiped" | "runs"> & { sample: number; wiped: number | boolean };

type RunSummaryRow = Omit<RunSummary, "state" | "parked" | "due" | "error"> & {
  error: string | null;
  arrival: number;
  state: number;
  parked: number | boolean;
  due: number;
};

interface AttemptRow extends Pick<AttemptRecord, "startedAt" | "took"> {
  run: number;
  attempt: number;
  outcome: string;
  error: string | null;
  log: string | null;
}

export type Queries = ReturnType<typeof createQueries>;

export function createQueries({ read, now }: Pick<Access, "read" | "now">) {
  return {
    async get(id: string): Promise<DeliveryView | null> {
      type Row = Omit<DeliveryView, "runs" | "sample" | "headers"> & {
        seq: number;
        sample: number;
        headers: string | null;
      };
      const [row] = await read.all<Row>(DELIVERY, { id });
      if (!row) return null;
      const { seq, headers, sample, body, ...delivery } = row;
      const runs = await runsOf(read, [{ arrival: seq }], now());
      const attempts = Map.groupBy(await read.all<AttemptRow>(ATTEMPTS, { seq }), ({ run }) => run);
      return {
        ...delivery,
        sample: sample === 1,
        headers: headers === null ? null : JSON.parse(headers),
        body: body && new Uint8Array(body),
        runs: runs(seq).map(({ took: _, ...run }) => ({
          ...run,
          attempts: (attempts.get(run.run) ?? []).map(attemptView),
        })),
      };
    },
    /** Newest first, without payloads and headers. */
    async list(filter: DeliveryFilter, { before, limit }: Page): Promise<DeliveryList> {
      const deliveries: DeliverySummary[] = [];
      let next: number | null = before ?? NEWEST;
      // Most often the first deliveries are selected, so the first slice is limited to a page.
      for (let size = Math.min(limit, SLICE); next !== null && deliveries.length < limit; size = SLICE) {
        const slice: DeliveryList = await nextSelected(read, filter, "down", next, size, now());
        const selected = slice.deliveries.filter(({ runs }) => selectsRuns(filter, runs));
        deliveries.push(...selected.slice(0, limit - deliveries.length));
        next = deliveries.length === limit ? deliveries.at(-1)!.arrival : slice.next;
        await new Promise((resolve) => setImmediate(resolve));
      }
      return { deliveries, next };
    },
    /** The payloads of the deliveries with these arrivals, or of the newest `limit` below the arrival `before`. */
    async contents(which: readonly number[] | { before: number | null; limit: number }): Promise<DeliveryContent[]> {
      if ("limit" in which) return read.all(CONTENTS_BELOW, { ...which, before: which.before ?? NEWEST });
      const rows = which.map((arrival) => ({ arrival }));
      return read.all(CONTENTS_OF, rows);
    },
    /**
     * Runs that are done and wrote to the handlers' database, the latest of each handler and delivery: those whose number is
     * below `before`, newest first, a bounded number of them. After a backup was restored, effects of some may be missing.
     */
    async wroteRuns(before: number): Promise<WroteRuns> {
      const [newest] = await read.all<{ id: number }>(NEWEST_RUN, { before });
      if (!newest) return { runs: [], next: null };
      const from = newest.id - WROTE_PAGE + 1;
      const runs = await read.all<RunKey>(WROTE, { from, before });
      return { runs, next: from > 1 ? from : null };
    },
  };
}

function attemptView({ run: _, error, log, ...attempt }: AttemptRow): RunView["attempts"][number] {
  return { ...attempt, ...(error && { error: JSON.parse(error) }), ...(log && { log: JSON.parse(log) }) };
}

/** The deliveries of the next slice that the filter selects, judged by all but their runs. */
export async function nextSelected(
  reader: Reader,
  filter: DeliveryFilter,
  direction: Direction,
  from: number,
  size: number,
  now: number,
): Promise<DeliveryList> {
  const { arrivals, next } = await nextSlice(reader, filter, direction, from, size);
  const wanted = arrivals.map((arrival) => ({ arrival }));
  const byArrival = new Map((await reader.all<SummaryRow>(SUMMARIES, wanted)).map((row) => [row.arrival, row]));
  const rows = arrivals.flatMap((arrival) => byArrival.get(arrival) ?? []).filter((row) => selects(filter, row));
  const runs = await runsOf(reader, rows, now);
  const deliveries = rows.map(({ sample, wiped, ...row }) => ({
    ...row,
    sample: sample === 1,
    wiped: Boolean(wiped),
    runs: runs(row.arrival),
  }));
  return { deliveries, next };
}

function selects({ id, type, subject, since, until, neverSeenBy }: DeliveryFilter, row: SummaryRow): boolean {
  return (
    (id == null || row.id === id) &&
    (type == null || matchesPattern(type, row.type)) &&
    (subject == null || row.subject === subject) &&
    (since == null || row.receivedAt >= since) &&
    (until == null || row.receivedAt <= until) &&
    (neverSeenBy == null || matchesPattern(neverSeenBy.event, row.type))
  );
}

/** Whether the filter selects a delivery with these runs, judged by them alone. */
function selectsRuns({ handler, state, problem, neverSeenBy }: DeliveryFilter, runs: readonly RunSummary[]): boolean {
  if (neverSeenBy && runs.some((run) => run.handler === neverSeenBy.handler && run.replay === "")) return false;
  if (state === "unhandled") return runs.length === 0;
  const own = runs.filter(
    (run) => (handler == null || run.handler === handler) && (problem == null || run.problem === problem),
  );
  if (state == null) return (handler == null && problem == null) || own.length > 0;
  // A handler's latest run of a delivery decides its state: after a replay, a dead run no longer counts.
  const latest = new Map(own.map((run) => [run.handler, run]));
  return [...latest.values()].some((run) => isInState(run, state));
}

function isInState(run: RunSummary, state: RunState | "parked" | "retrying"): boolean {
  if (state === "parked") return run.parked;
  if (state === "retrying") return run.state === "waiting" && !run.parked && run.attempts > 0;
  return run.state === state;
}

/** The runs of deliveries, oldest first, by the arrival. */
async function runsOf(reader: Reader, deliveries: readonly { arrival: number }[], now: number) {
  const rows = await reader.all<RunSummaryRow>(RUN_SUMMARIES, deliveries);
  const summary = ({ arrival: _, state, parked, due, error, ...run }: RunSummaryRow): RunSummary => ({
    ...run,
    state: STATES[state] ?? "waiting",
    parked: Boolean(parked),
    // As a delay.
    due: state === WAITING ? Math.max(0, due - now) : null,
    ...(error !== null && { error: firstLine(JSON.parse(error) as ErrorRecord) }),
  });
  const byArrival = Map.groupBy(rows, ({ arrival }) => arrival);
  const summaries = (found: RunSummaryRow[] = []) => found.toSorted((a, b) => a.run - b.run).map(summary);
  return (arrival: number) => summaries(byArrival.get(arrival));
}

const MAX_ERROR_CHARACTERS = 300;

/** An error in a row of a list: its name and the first line of its message. */
function firstLine({ name, message }: ErrorRecord): string {
  return `${name}: ${message.trimStart().split("\n", 1)[0] ?? ""}`.slice(0, MAX_ERROR_CHARACTERS);
}
