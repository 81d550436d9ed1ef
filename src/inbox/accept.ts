// A delivery comes: stored once, with its runs. Those that may go and were asked for begin in the same commit; of these only
// the delivery's row tells, until they have ended.

import type { Begun, BegunRun } from "./begun.ts";
import { type Accepted, type Begin, lineOf, type NewDelivery, type NewRun, ticketOf } from "./inbox.ts";
import type { Lines } from "./lines.ts";
import type { Receipts } from "./receipts.ts";
import { type Statements, STATES } from "./statements.ts";
import type { Subjects } from "./subjects.ts";

const DAY_MS = 86_400_000;

interface AcceptOptions {
  sql: Statements;
  clock: () => number;
  lines: Lines;
  begun: Begun;
  subjects: Subjects;
  receipts: Receipts;
  nextRun: () => number;
}

export function createAccept({ sql, clock, lines, begun, subjects, receipts, nextRun }: AcceptOptions) {
  /** Whether a new run of this line could go at once. */
  function isFree(lane: string, line: string | null, only: boolean): boolean {
    return line === null || only || (!begun.isBusy(lane, line) && lines.isFree(lane, line));
  }

  /** A second delivery of a subject has come: from now on its marks are kept, and those of the first are made up for. */
  function keepMarks(first: number) {
    begun.writeOf(first);
    sql.marksOf.run(first);
  }

  /** Of its runs, those that begin, and those that wait; each with its number, in the order of the handlers. */
  function sortRuns(delivery: NewDelivery, runs: readonly NewRun[], begin: Begin | undefined, only: boolean) {
    const { at, subject, sample } = delivery;
    const [line, since] = [lineOf(subject, sample), clock()];
    const begins: Omit<BegunRun, "seq">[] = [];
    const waits: { id: number; run: NewRun }[] = [];
    for (const run of runs) {
      const { handler, lane, parked } = run;
      const id = nextRun();
      const goes = !parked && begin?.handlers.includes(handler) && !begins.some((each) => each.lane === lane);
      if (goes && isFree(lane, line, only)) begins.push({ run: id, handler, lane, line, at, only, since });
      else waits.push({ id, run });
    }
    return { line, begins, waits };
  }

  /** It is stored already: one more receipt of it. */
  function countReceipt(id: string): Accepted {
    begun.writeAll();
    const standing = sql.standing.all(sql.receipt.get(id)?.seq ?? 0);
    return { status: "duplicate", runs: standing.map(({ handler, state }) => ({ handler, state: STATES[state]! })) };
  }

  return {
    accept(delivery: NewDelivery, runs: readonly NewRun[], begin?: Begin): Accepted {
      const { id, type, subject, at, sample, sensitive, receivedAt, headers, body } = delivery;
      if (begin) begun.own(begin.owner);
      const earlier = subject === null ? [] : subjects.latest(subject);
      const only = earlier.length === 0;
      const { line, begins, waits } = sortRuns(delivery, runs, begin, only);
      const wipeAt = sensitive ? clock() + DAY_MS : null;
      const unhandled = Number(runs.length === 0);
      const began = begun.textOf(begins);
      const made = sql.delivery.run(id, type, subject, at, Number(sample), receivedAt, wipeAt, unhandled, began);
      if (made.changes === 0) return countReceipt(id);

      const seq = Number(made.lastInsertRowid);
      sql.payload.run(seq, JSON.stringify(headers), body);
      receipts.received(receivedAt);
      subjects.stored(seq, subject);
      if (earlier.length === 1) keepMarks(earlier[0]!);
      begun.stored(
        seq,
        begins.map((each) => ({ ...each, seq })),
      );
      for (const { id, run } of waits) {
        begun.writeLine(run.lane, line);
        lines.addRun(id, seq, at, line, "", run);
      }
      // Its payload goes when the last run has ended: what looks for that looks at runs.
      if (sensitive) begun.writeAll();
      if (!begin) return { status: "accepted" };
      const isStale = (lane: string) => line !== null && !only && (sql.markOf.get(lane, line)?.at ?? at) > at;
      const tickets = begins.map(({ run, handler, lane }) =>
        ticketOf(delivery, { run, handler, stale: isStale(lane) }),
      );
      return { status: "accepted", begun: tickets };
    },
  };
}
