// Views of the inbox for people: one delivery with its runs, and lists of deliveries. Lists are read in slices, so that
// deliveries and runs continue in between, however rare the selected deliveries are.

import { matchesPattern } from "../clerk/pattern.ts";
import { NEWEST, nextSlice } from "./cursor.ts";
import type { AttemptRecord } from "./inbox.ts";
import { STATES, WAITING } from "./schema.ts";
import { query, type Reader, selectBy } from "./store.ts";
import type {
  DeliveryFilter,
  DeliveryList,
  DeliverySummary,
  DeliveryView,
  Page,
  RunSummary,
  RunView,
} from "./views.ts";

const SLICE = 500;

const DELIVERY = query(
  { id: "text" },
  ({ id }) => `
    select d.seq, d.id, d.type, d.subject, d.at, d.sample, d.received_at as "receivedAt", d.receipts, p.headers, p.body
    from delivery d left join payload p on p.seq = d.seq where d.id = ${id}`,
);

const RUNS = query(
  { seq: "int" },
  ({ seq }) => `
    select id as run, handler, replay, state, parked_at is not null as parked, due, reason
    from run where seq = ${seq} order by id`,
);

const ATTEMPTS = query(
  { seq: "int" },
  ({ seq }) => `
    select id as run, 1 as attempt, first_at as "startedAt", first_took as took, 'done' as outcome,
      null as error, null as log
    from run where seq = ${seq} and first_at is not null
    union all select a.run, a.n, a.started_at, a.took, a.outcome, a.error, a.log
    from attempt a join run r on r.id = a.run where r.seq = ${seq} order by run, attempt`,
);

const SUMMARY = `d.seq as arrival, d.id, d.type, d.subject, d.at, d.sample, d.received_at as "receivedAt", d.receipts,
    d.unhandled, (select p.seq from payload p where p.seq = d.seq) is null as wiped`;

export const SUMMARIES = selectBy("delivery d", "d.seq", { arrival: "int" }, SUMMARY);

// A handler's latest run of a delivery decides its state: after a replay, a dead run no longer counts.
const SUMMARIES_WITH_RUN = selectBy(
  "delivery d",
  "d.seq",
  { arrival: "int", handler: "text", state: "int", parked: "int", retrying: "int", unseen: "int" },
  SUMMARY,
  {
    where: (input) => `exists (
      select 1 from run r where r.seq = d.seq and (${input.handler} is null or r.handler = ${input.handler})
      and (${input.state} is null or r.state = ${input.state}) and (${input.parked} = 0 or r.parked_at is not null)
      and (${input.retrying} = 0 or (
        r.parked_at is null and (select max(a.n) from attempt a where a.run = r.id) is not null))
      and (${input.state} is null or r.id = (
        select max(same.id) from run same where same.seq = r.seq and same.handler = r.handler))
      and (${input.unseen} = 0 or r.replay = '')) <> (${input.unseen} = 1)`,
  },
);

const RUN_SUMMARIES = selectBy(
  "run r",
  "r.seq",
  { arrival: "int" },
  `r.seq as arrival, r.id as run, r.handler, r.replay, r.state, r.parked_at is not null as parked, r.due,
    r.reason, r.first_took as "firstTook", (select count(*) from attempt a where a.run = r.id) as attempts,
    (select a.took from attempt a where a.run = r.id order by a.n desc limit 1) as took`,
);

export type SummaryRow = Omit<DeliverySummary, "sample" | "wiped" | "runs"> & {
  sample: number;
  wiped: number | boolean;
  unhandled: number;
};

type RunRow = Omit<RunView, "state" | "parked" | "attempts" | "due"> & {
  state: number;
  parked: number | boolean;
  due: number;
};

type RunSummaryRow = RunRow & { arrival: number; attempts: number; took: number | null; firstTook: number | null };

interface AttemptRow extends Pick<AttemptRecord, "startedAt" | "took"> {
  run: number;
  attempt: number;
  outcome: string;
  error: string | null;
  log: string | null;
}

export async function get(reader: Reader, id: string, now: number): Promise<DeliveryView | null> {
  type Row = Omit<DeliveryView, "runs" | "sample" | "headers"> & {
    seq: number;
    sample: number;
    headers: string | null;
  };
  const [row] = await reader.all<Row>(DELIVERY, { id });
  if (!row) return null;
  const { seq, headers, sample, body, ...delivery } = row;
  const runs = await reader.all<RunRow>(RUNS, { seq });
  const attempts = Map.groupBy(await reader.all<AttemptRow>(ATTEMPTS, { seq }), ({ run }) => run);
  return {
    ...delivery,
    sample: sample === 1,
    headers: headers === null ? null : JSON.parse(headers),
    body: body && new Uint8Array(body),
    runs: runs.map((run) => ({
      ...run,
      ...stateOf(run, now),
      attempts: (attempts.get(run.run) ?? []).map(attemptView),
    })),
  };
}

/** The state of a run. A waiting run's due time is shown as a delay. */
function stateOf({ state, parked, due }: Pick<RunRow, "state" | "parked" | "due">, now: number) {
  return {
    state: STATES[state] ?? "waiting",
    parked: Boolean(parked),
    due: state === 0 ? Math.max(0, due - now) : null,
  };
}

function attemptView({ run: _, error, log, ...attempt }: AttemptRow): RunView["attempts"][number] {
  return { ...attempt, ...(error && { error: JSON.parse(error) }), ...(log && { log: JSON.parse(log) }) };
}

export async function list(
  reader: Reader,
  filter: DeliveryFilter,
  { before, limit }: Page,
  now: number,
): Promise<DeliveryList> {
  const rows: SummaryRow[] = [];
  let next: number | null = before ?? NEWEST;
  // Most often the first deliveries are selected, so the first slice is limited to a page.
  for (let size = Math.min(limit, SLICE); next !== null && rows.length < limit; size = SLICE) {
    const slice = await nextSlice(reader, filter, "down", next, size);
    const selected = await selectSummaries(reader, filter, slice.arrivals);
    rows.push(...selected.slice(0, limit - rows.length));
    const isFull = rows.length === limit;
    next = isFull ? rows.at(-1)!.arrival : slice.next;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { deliveries: await withRuns(reader, rows, now), next };
}

/** Summaries of the deliveries that the filter selects, in the order given. */
async function selectSummaries(
  reader: Reader,
  filter: DeliveryFilter,
  arrivals: readonly number[],
): Promise<SummaryRow[]> {
  const { handler, state, neverSeenBy } = filter;
  const hasState = state != null && state !== "unhandled";
  const condition = {
    handler: handler ?? null,
    state: hasState ? (state === "parked" || state === "retrying" ? WAITING : STATES.indexOf(state)) : null,
    parked: Number(state === "parked"),
    retrying: Number(state === "retrying"),
    unseen: 0,
  };
  const deliveries = arrivals.map((arrival) => ({ arrival }));
  let found = await reader.all<SummaryRow>(
    ...(handler || hasState
      ? ([SUMMARIES_WITH_RUN, deliveries.map(({ arrival }) => ({ arrival, ...condition }))] as const)
      : ([SUMMARIES, deliveries] as const)),
  );
  if (neverSeenBy) {
    const unseen = { handler: neverSeenBy.handler, state: null, parked: 0, retrying: 0, unseen: 1 };
    found = await reader.all<SummaryRow>(
      SUMMARIES_WITH_RUN,
      found.map(({ arrival }) => ({ arrival, ...unseen })),
    );
  }
  const byArrival = new Map(found.map((row) => [row.arrival, row]));
  return arrivals.flatMap((arrival) => {
    const row = byArrival.get(arrival);
    return row && selects(filter, row) ? [row] : [];
  });
}

/** Whether the filter selects a delivery, judged by the delivery alone. */
export function selects(filter: DeliveryFilter, row: SummaryRow): boolean {
  const { id, type, subject, state, since, until, neverSeenBy } = filter;
  return (
    (id == null || row.id === id) &&
    (type == null || matchesPattern(type, row.type)) &&
    (subject == null || row.subject === subject) &&
    (state !== "unhandled" || row.unhandled === 1) &&
    (since == null || row.receivedAt >= since) &&
    (until == null || row.receivedAt <= until) &&
    (neverSeenBy == null || matchesPattern(neverSeenBy.event, row.type))
  );
}

async function withRuns(reader: Reader, rows: readonly SummaryRow[], now: number): Promise<DeliverySummary[]> {
  const runs = await reader.all<RunSummaryRow>(RUN_SUMMARIES, rows);
  const byArrival = Map.groupBy(runs, ({ arrival }) => arrival);
  return rows.map(({ sample, wiped, unhandled: _, ...row }) => ({
    ...row,
    sample: sample === 1,
    wiped: Boolean(wiped),
    runs: (byArrival.get(row.arrival) ?? []).toSorted((a, b) => a.run - b.run).map((run) => runSummary(run, now)),
  }));
}

function runSummary({ arrival: _, firstTook, attempts, took, ...run }: RunSummaryRow, now: number): RunSummary {
  return {
    ...run,
    ...stateOf(run, now),
    attempts: attempts + Number(firstTook !== null),
    took: firstTook ?? took,
  };
}
