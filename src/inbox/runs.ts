// The state machine of runs, in SQL: waiting → running → done, dead or skipped. Each function is part of one commit.
// Of each lane and line one run is the head, and only heads are looked at, so that no search grows with what is stored.

import type { Database } from "bun:sqlite";

import { createAccept } from "./accept.ts";
import { createBegun } from "./begun.ts";
import { createClaims } from "./claims.ts";
import { type AttemptRecord, lineOf, type LogLine, type NewRun, type Outcome, type Ticket } from "./inbox.ts";
import { createLines } from "./lines.ts";
import { prepareList } from "./list.ts";
import { prepareMissing } from "./missing.ts";
import { createParking } from "./parking.ts";
import { prepareReceipts } from "./receipts.ts";
import { prepareReplays } from "./replays.ts";
import { prepareRetention } from "./retention.ts";
import { prepareStatements, STATES } from "./statements.ts";
import { createSubjects } from "./subjects.ts";
import { prepareViews } from "./views.ts";

export type Runs = ReturnType<typeof prepareRuns>;

interface RunsOptions {
  /** The inbox's own, in milliseconds. */
  clock: () => number;
  /** Hears of what may go. */
  onWork: () => void;
}

/** The state machine on one connection. */
export function prepareRuns(db: Database, { clock, onWork }: RunsOptions) {
  const sql = prepareStatements(db);
  const begun = createBegun(sql, clock);
  const views = prepareViews(db, clock, begun);
  const { headsChanged, ...claims } = createClaims(sql, clock, (run) => views.ticket(run));
  const onHead = () => {
    headsChanged();
    onWork();
  };
  let newestRun = Math.max(sql.newestRun.get()?.id ?? 0, begun.newestRun);
  const nextRun = () => (newestRun += 1);
  const lines = createLines(sql, clock, nextRun, onHead);
  const receipts = prepareReceipts(db, sql);
  const subjects = createSubjects(sql);

  /** What a run that goes again changes: due, spent, interrupted, alone (null: as it was). */
  function again(outcome: Outcome): [number, number, number, number | null] {
    if (outcome.kind === "retry") return [clock() + outcome.delay, 1, 0, Number(outcome.alone)];
    if (outcome.kind === "interrupted") return [clock() + outcome.delay, 1, 1, Number(outcome.alone)];
    if (outcome.kind === "postponed") return [clock() + outcome.delay, 0, 0, null];
    return [clock(), 0, 0, null];
  }

  /** Keeps what an attempt came to; what there is to say of most first ones is kept with their run, and returned. */
  function record(run: number, attempt: number, outcome: Outcome): [startedAt: number, took: number] | [null, null] {
    const { startedAt, took, error, log }: AttemptRecord =
      "record" in outcome ? outcome.record : { startedAt: clock(), took: 0 };
    if (outcome.kind === "done" && attempt === 1 && !log?.length) return [startedAt, took];
    const [errorText, logText] = [error, log?.length ? log : undefined].map((each) => each && JSON.stringify(each));
    sql.attempt.run(run, attempt, startedAt, took, outcome.kind, errorText ?? null, logText ?? null);
    return [null, null];
  }

  return {
    ...views,
    ...claims,
    ...createAccept({ sql, clock, lines, begun, subjects, receipts, nextRun }),
    ...createParking(sql, lines, clock, onHead),
    ...prepareMissing(db, clock, (...run) => {
      sql.handled.run(run[0]);
      return lines.addRuns(...run);
    }),
    ...prepareList(db, clock, receipts, begun),
    ...prepareReplays(db, sql, lines, receipts),
    ...prepareRetention(db, sql, subjects),

    /** Part of every commit. */
    saveClock() {
      begun.writeOld();
      subjects.writeSome();
      sql.setMeta.run("clock", clock());
      sql.setMeta.run("begun", begun.passed);
      receipts.save();
    },

    /** Runs go on that are nowhere written yet. */
    get hasBegun() {
      return begun.any;
    },

    /** Before anything that looks at runs, but for accepting, claiming and settling. */
    writeBegun: () => begun.writeAll(),

    /** Subjects of which not all deliveries can be found yet. */
    get hasSubjects() {
      return subjects.any;
    },

    writeSubjects: () => subjects.writeAll(),

    settle({ run, attempt }: Pick<Ticket, "run" | "attempt">, outcome: Outcome): "settled" | "lost" {
      const { kind } = outcome;
      const state = ends(kind) ? STATES.indexOf(kind) : null;
      const reason = "reason" in outcome ? outcome.reason : null;
      const its = state !== null && attempt === 1 ? begun.take(run) : undefined;
      if (!its) begun.write(run);
      const of = its ?? sql.running.get(run, attempt);
      if (!of) return "lost";
      const { seq, lane, line, at } = of;
      const first = kind === "released" ? ([null, null] as const) : record(run, attempt, outcome);
      if (kind === "dead") sql.unlook.run(seq);
      if (its) {
        const { handler, only } = its;
        sql.endedRun.run(run, seq, handler, lane, line, at, clock(), state, reason, ...first);
        // Nothing waits in its line, or it would have been written.
        if (kind === "done" && !only) lines.mark(of);
      } else if (state !== null) {
        sql.end.run(state, reason, ...first, run);
        if (kind === "done") lines.mark(of);
        lines.goOn(of);
      } else {
        sql.again.run(...again(outcome), run);
        onHead();
        lines.elect(lane, line);
      }
      return "settled";
    },

    /** Whether this is the run that the ticket says: a number is used again when the commit that gave it failed. */
    isOf: ({ run, delivery, handler }: Ticket) => {
      begun.write(run);
      return sql.isOf.get(run, delivery.id, handler) !== null;
    },

    note({ run, attempt }: Pick<Ticket, "run" | "attempt">, line: LogLine): void {
      const text = JSON.stringify(line);
      if (sql.note.run(text, run, attempt).changes > 0 || attempt !== 1) return;
      if (sql.noteFirst.run(text, run).changes > 0) sql.firstIsNoted.run(run);
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

function ends(kind: Outcome["kind"]): kind is "done" | "dead" | "skipped" {
  return kind === "done" || kind === "dead" || kind === "skipped";
}
