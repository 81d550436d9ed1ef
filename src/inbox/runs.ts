// The state machine of runs, in SQL: waiting → running → done, dead or skipped. Each function is part of one commit.
// Of each lane and line one run is the head, and only heads are looked at, so that no search grows with what is stored.

import type { Database } from "bun:sqlite";

import {
  type Accepted,
  type AttemptRecord,
  type Claim,
  lineOf,
  type LogLine,
  type NewDelivery,
  type NewRun,
  type Outcome,
  type RunState,
  type Ticket,
} from "./inbox.ts";
import { prepareMissing } from "./missing.ts";
import { prepareStatements, type RunOf } from "./statements.ts";
import { prepareViews } from "./views.ts";

const STATES = ["waiting", "running", "done", "dead", "skipped"] as const satisfies RunState[];
const DAY_MS = 86_400_000;

export type Runs = ReturnType<typeof prepareRuns>;

/** The state machine on one connection. `clock` is the inbox's own, in milliseconds. */
export function prepareRuns(db: Database, clock: () => number) {
  const sql = prepareStatements(db);
  const views = prepareViews(db, clock, STATES);

  /** Keeps the invariant after a change of a line: its least open run is its head, unless one is running. */
  function elect(lane: string, line: string | null) {
    if (line === null) return;
    const head = sql.head.get(lane, line);
    if (head?.state === 1) return;
    const least = sql.least.get(lane, line);
    if (least?.id === head?.id) return;
    if (head) sql.setHead.run(0, head.id);
    if (least) sql.setHead.run(1, least.id);
  }

  /** After a run's end, whose line then has no head. */
  function goOn({ seq, lane, line, at }: RunOf, done: boolean) {
    if (done && line !== null) sql.mark.run(lane, line, at);
    wipeIfOver(seq);
    const next = line === null ? null : sql.least.get(lane, line);
    if (next) sql.setHead.run(1, next.id);
  }

  function wipeIfOver(seq: number) {
    if (sql.wipeable.get(seq)) wipe(seq);
  }

  function wipe(seq: number) {
    sql.wipePayload.run(seq);
    sql.wiped.run(seq);
  }

  function addRuns(
    seq: number,
    at: number,
    line: string | null,
    replay: string,
    runs: readonly NewRun[],
    bulk = false,
  ): number {
    const now = clock();
    let added = 0;
    for (const { handler, lane, parked } of runs) {
      const first = !parked && (line === null || !sql.head.get(lane, line));
      const [head, parkedAt] = [first ? 1 : 0, parked ? now : null];
      const { changes } = sql.run.run(seq, handler, replay, lane, line, at, head, Number(bulk), now, parkedAt);
      added += changes;
      if (!first && changes > 0) elect(lane, line);
    }
    return added;
  }

  /** What a run that goes again changes: due, spent, interrupted, alone (null: as it was). */
  function again(outcome: Outcome): [number, number, number, number | null] {
    if (outcome.kind === "retry") return [clock() + outcome.delay, 1, 0, Number(outcome.alone)];
    if (outcome.kind === "postponed") return [clock() + outcome.delay, 0, 0, null];
    if (outcome.kind === "interrupted") return [clock() + outcome.delay, 1, 1, Number(outcome.alone)];
    return [clock(), 0, 0, null];
  }

  function record(run: number, attempt: number, outcome: Outcome) {
    const { startedAt, took, error, log }: AttemptRecord =
      "record" in outcome ? outcome.record : { startedAt: clock(), took: 0 };
    const [errorText, logText] = [error, log?.length ? log : undefined].map((each) => each && JSON.stringify(each));
    sql.attempt.run(run, attempt, startedAt, took, outcome.kind, errorText ?? null, logText ?? null);
  }

  function* dueRuns(rooms: ReadonlyMap<string, number>, now: number) {
    for (const [handler, room] of rooms) {
      let left = room;
      // Live ones first; then what was asked for in bulk.
      for (const bulk of [0, 1]) {
        if (left <= 0) break;
        const due = sql.due.all(handler, bulk, now, left);
        left -= due.length;
        yield* due;
      }
    }
  }

  function nextDue(rooms: ReadonlyMap<string, number>, now: number): number | null {
    let next: number | null = null;
    for (const handler of rooms.keys())
      for (const bulk of [0, 1]) {
        const due = sql.nextDue.get(handler, bulk, now)?.due;
        if (due !== undefined && (next === null || due - now < next)) next = due - now;
      }
    return next;
  }

  return {
    ...views,
    ...prepareMissing(db, clock, addRuns),

    saveClock() {
      sql.clock.run(clock());
    },

    accept(delivery: NewDelivery, runs: readonly NewRun[]): Accepted {
      const { id, type, subject, at, sample, sensitive, receivedAt, headers, body } = delivery;
      const line = lineOf(subject, sample);
      const wipeAt = sensitive ? clock() + DAY_MS : null;
      const row = sql.delivery.get(id, type, subject, at, Number(sample), receivedAt, wipeAt);
      if (!row) throw new Error("the delivery was not stored");
      if (row.receipts > 1) {
        const standing = sql.standing.all(row.seq);
        return {
          status: "duplicate",
          runs: standing.map(({ handler, state }) => ({ handler, state: STATES[state]! })),
        };
      }
      sql.payload.run(row.seq, JSON.stringify(headers), body);
      addRuns(row.seq, at, line, "", runs);
      return { status: "accepted" };
    },

    /** What `claim` would find, without writing. */
    look(rooms: ReadonlyMap<string, number>, alone: boolean): { any: boolean; claim: Claim } {
      const now = clock();
      const suspect = sql.alone.get(now) !== null;
      const any = alone ? suspect : dueRuns(rooms, now).next().done === false;
      return { any, claim: { tickets: [], next: any ? null : nextDue(rooms, now), alone: suspect } };
    },

    claim(owner: string, rooms: ReadonlyMap<string, number>, alone: boolean): Claim {
      const now = clock();
      const suspect = sql.alone.get(now);
      const due = alone ? (suspect ? [suspect] : []) : [...dueRuns(rooms, now)];
      const tickets: Ticket[] = [];
      for (const { id } of due) {
        const begun = sql.begin.get(owner, id);
        if (begun) tickets.push(views.ticket(id));
      }
      return { tickets, next: nextDue(rooms, now), alone: suspect !== null && !alone };
    },

    settle({ run, attempt }: Pick<Ticket, "run" | "attempt">, outcome: Outcome): "settled" | "lost" {
      const { kind } = outcome;
      const ends = kind === "done" || kind === "dead" || kind === "skipped";
      const reason = "reason" in outcome ? outcome.reason : null;
      const of = ends
        ? sql.end.get(STATES.indexOf(kind), reason, run, attempt)
        : sql.again.get(...again(outcome), run, attempt);
      if (!of) return "lost";
      if (kind !== "released") record(run, attempt, outcome);
      if (ends) goOn(of, kind === "done");
      else elect(of.lane, of.line);
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

    park(loaded: ReadonlySet<string>): void {
      const now = clock();
      for (const { handler, parked } of sql.waitingHandlers.all()) {
        if (loaded.has(handler) !== Boolean(parked)) continue;
        for (const row of sql.ofHandler.all(handler)) {
          if (row.parked !== parked) continue;
          const parks = !parked;
          sql.setParked.run(parks ? now : null, row.line === null && !parks ? 1 : 0, now, row.id);
          elect(row.lane, row.line);
        }
      }
    },

    replay(id: string, replay: string, runs: readonly NewRun[]): number | null {
      const stored = sql.stored.get(id);
      if (!stored || !stored.hasBody) return null;
      const { seq, at, subject, sample } = stored;
      const now = clock();
      for (const { handler } of runs) sql.hurry.run(now, seq, handler, now);
      return addRuns(seq, at, lineOf(subject, Boolean(sample)), replay, runs);
    },

    sweep(): void {
      const now = clock();
      for (const { seq } of sql.overdue.all(now)) wipe(seq);
      for (const { id, seq } of sql.parkedLong.all(now - DAY_MS)) {
        sql.skipParked.run("its handler's file was missing or broken for 24 hours", id);
        wipeIfOver(seq);
      }
    },
  };
}
