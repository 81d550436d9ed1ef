// What is read back from the inbox: tickets for the dispatcher, whole deliveries for people.

import type { Database } from "bun:sqlite";

import type { Begun, BegunRun } from "./begun.ts";
import type { AttemptRecord, DeliveryView, RunView, Ticket } from "./inbox.ts";
import { prepare } from "./prepare.ts";
import { STATES } from "./statements.ts";

interface TicketRow {
  run: number;
  attempt: number;
  handler: string;
  spent: number;
  interrupted: number;
  alone: number;
  replay: string;
  markedAt: number | null;
  id: string;
  type: string;
  subject: string | null;
  receivedAt: number;
  receipts: number;
  sample: number;
  at: number;
  body: Uint8Array | null;
}

interface RunRow {
  run: number;
  handler: string;
  replay: string;
  state: number;
  parked: number;
  due: number;
  reason: string | null;
}

type DeliveryRow = Omit<DeliveryView, "runs" | "sample" | "headers"> & {
  seq: number;
  sample: number;
  headers: string | null;
};

interface AttemptRow {
  n: number;
  startedAt: number;
  took: number;
  outcome: string;
  error: string | null;
  log: string | null;
}

/** `begun` are written nowhere yet: whoever reads while the disk refuses sees them all the same. */
export function prepareViews(db: Database, clock: () => number, begun: Pick<Begun, "of">) {
  const ticketRow = prepare<TicketRow, [number]>(
    db,
    `
    select r.id as run, r.attempts as attempt, handler, spent, interrupted, alone, replay, m.at as markedAt,
      d.id, type, subject, received_at as receivedAt, receipts, sample, d.at, body
    from run r join delivery d on d.seq = r.seq left join payload p on p.seq = r.seq
    left join mark m on m.lane = r.lane and m.line = r.line where r.id = ?`,
  );
  const deliveryRow = prepare<DeliveryRow, [string]>(
    db,
    `
    select d.seq, id, type, subject, at, sample, received_at as receivedAt, receipts, headers, body
    from delivery d left join payload p on p.seq = d.seq where id = ?`,
  );
  const runRows = prepare<RunRow, [number]>(
    db,
    `
    select id as run, handler, replay, state, parked_at is not null as parked, due, reason
    from run where seq = ? order by id`,
  );
  const attemptRows = prepare<AttemptRow, [number, number]>(
    db,
    `
    select 1 as n, first_at as startedAt, first_took as took, 'done' as outcome, null as error, null as log
    from run where id = ? and first_at is not null
    union all select n, started_at, took, outcome, error, log from attempt where run = ? order by n`,
  );

  return {
    ticket(run: number): Ticket {
      const row = ticketRow.get(run);
      if (!row) throw new Error(`run ${run} is gone`);
      const { id, type, subject, receivedAt, receipts, sample, at, markedAt, ...rest } = row;
      return {
        ...rest,
        alone: Boolean(row.alone),
        stale: markedAt !== null && markedAt > at,
        delivery: { id, type, subject, receivedAt, receipts, sample: Boolean(sample), at },
      };
    },

    get(id: string): DeliveryView | null {
      const row = deliveryRow.get(id);
      if (!row) return null;
      const { seq, headers, sample, ...delivery } = row;
      const runs = [...runRows.all(seq).map(runView), ...begun.of(seq).map(begunView)];
      return { ...delivery, sample: Boolean(sample), headers: headers === null ? null : JSON.parse(headers), runs };
    },
  };

  function runView({ state, parked, due, ...run }: RunRow): RunView {
    const attempts = attemptRows.all(run.run, run.run).map(attemptView);
    const name = STATES[state] ?? "waiting";
    const waits = name === "waiting" ? Math.max(0, due - clock()) : null;
    return { ...run, state: name, parked: Boolean(parked), due: waits, attempts };
  }
}

function begunView({ run, handler }: BegunRun): RunView {
  return { run, handler, replay: "", state: "running", parked: false, due: null, reason: null, attempts: [] };
}

function attemptView({ n, error, log, ...row }: AttemptRow): AttemptRecord & { attempt: number; outcome: string } {
  return { ...row, attempt: n, ...(error && { error: JSON.parse(error) }), ...(log && { log: JSON.parse(log) }) };
}
