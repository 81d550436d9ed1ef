// The state machine of runs, in SQL: waiting → running → done, dead or skipped. Each function is part of one commit.
// Of each lane and line one run is the head, and only heads are looked at, so that no search grows with what is stored.

import type { Database } from "bun:sqlite";

import {
  type Accepted,
  type AttemptRecord,
  type Begin,
  type Claim,
  lineOf,
  type LogLine,
  type NewDelivery,
  type NewRun,
  type Outcome,
  type Ticket,
  ticketOf,
} from "./inbox.ts";
import { createLines } from "./lines.ts";
import { prepareList } from "./list.ts";
import { prepareMissing } from "./missing.ts";
import { createParking } from "./parking.ts";
import { prepareReceipts } from "./receipts.ts";
import { prepareReplays } from "./replays.ts";
import { prepareRetention } from "./retention.ts";
import { prepareStatements, STATES } from "./statements.ts";
import { prepareViews } from "./views.ts";

const DAY_MS = 86_400_000;

export type Runs = ReturnType<typeof prepareRuns>;

/** The state machine on one connection. `clock` is the inbox's own, in milliseconds; `onWork` hears of what may go. */
export function prepareRuns(db: Database, clock: () => number, onWork: () => void) {
  const sql = prepareStatements(db);
  const views = prepareViews(db, clock);
  /** Handlers that have runs which may go, now or later; more than those may stand in it. Unknown at first. */
  let headed: string[] | undefined;
  const onHead = () => {
    headed = undefined;
    onWork();
  };
  const lines = createLines(sql, clock, onHead);
  const receipts = prepareReceipts(db, sql);

  /** What a run that goes again changes: due, spent, interrupted, alone (null: as it was). */
  function again(outcome: Outcome): [number, number, number, number | null] {
    if (outcome.kind === "retry") return [clock() + outcome.delay, 1, 0, Number(outcome.alone)];
    if (outcome.kind === "interrupted") return [clock() + outcome.delay, 1, 1, Number(outcome.alone)];
    if (outcome.kind === "postponed") return [clock() + outcome.delay, 0, 0, null];
    return [clock(), 0, 0, null];
  }

  function record(run: number, attempt: number, outcome: Outcome) {
    const { startedAt, took, error, log }: AttemptRecord =
      "record" in outcome ? outcome.record : { startedAt: clock(), took: 0 };
    const [errorText, logText] = [error, log?.length ? log : undefined].map((each) => each && JSON.stringify(each));
    sql.attempt.run(run, attempt, startedAt, took, outcome.kind, errorText ?? null, logText ?? null);
  }

  /** Of these handlers, those that have something to claim, now or later: most often, few of many. */
  function waiting(rooms: ReadonlyMap<string, number>): string[] {
    headed ??= sql.headed.all().map(({ handler }) => handler);
    return headed.filter((handler) => rooms.has(handler));
  }

  function* dueRuns(handlers: readonly string[], rooms: ReadonlyMap<string, number>, now: number) {
    for (const handler of handlers) {
      let left = rooms.get(handler) ?? 0;
      // Live ones first; then what was asked for in bulk.
      for (const bulk of [0, 1]) {
        if (left <= 0) break;
        const due = sql.due.all(handler, bulk, now, left);
        left -= due.length;
        yield* due;
      }
    }
  }

  function nextDue(handlers: readonly string[], now: number): number | null {
    let next: number | null = null;
    for (const handler of handlers)
      for (const bulk of [0, 1]) {
        const due = sql.nextDue.get(handler, bulk, now)?.due;
        if (due !== undefined && (next === null || due - now < next)) next = due - now;
      }
    return next;
  }

  /** A run that begins with its delivery, which is still in memory. */
  function beginNew(seq: number, line: string | null, delivery: NewDelivery, { handler, lane }: NewRun, owner: string) {
    const { at } = delivery;
    const { lastInsertRowid } = sql.begunRun.run(seq, handler, lane, line, at, clock(), owner);
    const mark = line === null ? null : sql.markOf.get(lane, line);
    return ticketOf(delivery, { run: Number(lastInsertRowid), handler, stale: mark !== null && mark.at > at });
  }

  return {
    ...views,
    ...createParking(sql, lines, clock, onHead),
    ...prepareMissing(db, clock, (...run) => {
      sql.handled.run(run[0]);
      return lines.addRuns(...run);
    }),
    ...prepareList(db, clock, receipts),
    ...prepareReplays(db, sql, lines, receipts),
    ...prepareRetention(db, sql),

    /** Part of every commit. */
    saveClock() {
      sql.setMeta.run("clock", clock());
      receipts.save();
    },

    accept(delivery: NewDelivery, runs: readonly NewRun[], begin?: Begin): Accepted {
      const { id, type, subject, at, sample, sensitive, receivedAt, headers, body } = delivery;
      const line = lineOf(subject, sample);
      const wipeAt = sensitive ? clock() + DAY_MS : null;
      const unhandled = Number(runs.length === 0);
      const made = sql.delivery.run(id, type, subject, at, Number(sample), receivedAt, wipeAt, unhandled);
      if (made.changes === 0) {
        const standing = sql.standing.all(sql.receipt.get(id)?.seq ?? 0);
        return {
          status: "duplicate",
          runs: standing.map(({ handler, state }) => ({ handler, state: STATES[state]! })),
        };
      }
      const seq = Number(made.lastInsertRowid);
      sql.payload.run(seq, JSON.stringify(headers), body);
      receipts.received(receivedAt);
      if (!begin) {
        lines.addRuns(seq, at, line, "", runs);
        return { status: "accepted" };
      }
      const goes = ({ handler, lane, parked }: NewRun) =>
        !parked && begin.handlers.includes(handler) && lines.isFree(lane, line);
      const begun: Ticket[] = [];
      for (const run of runs)
        if (goes(run)) begun.push(beginNew(seq, line, delivery, run, begin.owner));
        else lines.addRuns(seq, at, line, "", [run]);
      return { status: "accepted", begun };
    },

    /** What `claim` would find, without writing. */
    look(rooms: ReadonlyMap<string, number>, alone: boolean): { any: boolean; claim: Claim } {
      const now = clock();
      const handlers = waiting(rooms);
      // Most often nothing waits at all, and nothing has to be looked for.
      if (headed?.length === 0) return { any: false, claim: { tickets: [], next: null, alone: false } };
      const suspect = sql.alone.get(now) !== null;
      const any = alone ? suspect : dueRuns(handlers, rooms, now).next().done === false;
      const next = any ? null : nextDue(handlers, now);
      // Those that were known may all have gone since.
      if (!any && next === null) headed = undefined;
      return { any, claim: { tickets: [], next, alone: suspect } };
    },

    claim(owner: string, rooms: ReadonlyMap<string, number>, alone: boolean): Claim {
      const now = clock();
      const suspect = sql.alone.get(now);
      const handlers = waiting(rooms);
      const due = alone ? (suspect ? [suspect] : []) : [...dueRuns(handlers, rooms, now)];
      const tickets: Ticket[] = [];
      for (const { id } of due) {
        if (sql.begin.run(owner, id).changes > 0) tickets.push(views.ticket(id));
      }
      return { tickets, next: nextDue(handlers, now), alone: suspect !== null && !alone };
    },

    settle({ run, attempt }: Pick<Ticket, "run" | "attempt">, outcome: Outcome): "settled" | "lost" {
      const { kind } = outcome;
      const ends = kind === "done" || kind === "dead" || kind === "skipped";
      const reason = "reason" in outcome ? outcome.reason : null;
      const of = sql.running.get(run, attempt);
      if (!of) return "lost";
      if (ends) sql.end.run(STATES.indexOf(kind), reason, run);
      else {
        sql.again.run(...again(outcome), run);
        onHead();
      }
      if (kind !== "released") record(run, attempt, outcome);
      if (kind === "dead") sql.unlook.run(of.seq);
      if (ends) lines.goOn(of, kind === "done");
      else lines.elect(of.lane, of.line);
      return "settled";
    },

    note({ run, attempt }: Pick<Ticket, "run" | "attempt">, line: LogLine): void {
      sql.note.run(JSON.stringify(line), run, attempt);
    },

    orphans(owner: string): Ticket[] {
      return sql.orphans.all(owner).map(({ id }) => views.ticket(id));
    },

    reconcile(owner: string, held: ReadonlySet<number>): number {
      const lost = sql.mine.all(owner).filter(({ id }) => !held.has(id));
      for (const { id } of lost) {
        const { attempt } = views.ticket(id);
        this.settle({ run: id, attempt }, { kind: "released" });
      }
      return lost.length;
    },

    replay(id: string, replay: string, runs: readonly NewRun[]): number | null {
      const stored = sql.stored.get(id);
      if (!stored || !stored.hasBody) return null;
      const { seq, at, subject, sample } = stored;
      for (const { handler } of runs) lines.hurry(seq, handler);
      if (runs.length > 0) sql.handled.run(seq);
      return lines.addRuns(seq, at, lineOf(subject, Boolean(sample)), replay, runs);
    },
  };
}
