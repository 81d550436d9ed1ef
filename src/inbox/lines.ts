// The order of runs: of each lane and line one run is the head, the only one that may go. Each function is part of one
// commit and leaves it so that the least open run of the line is its head, unless one of them is running.

import type { NewRun } from "./inbox.ts";
import type { RunOf, Statements } from "./statements.ts";

export type Lines = ReturnType<typeof createLines>;

/** `onHead` hears of each run that may now go; `nextRun` gives the id of a new one. */
export function createLines(sql: Statements, clock: () => number, nextRun: () => number, onHead: () => void) {
  function setHead(id: number) {
    sql.setHead.run(1, id);
    onHead();
  }

  /** Keeps the invariant after a change of a line. */
  function elect(lane: string, line: string | null) {
    if (line === null) return;
    const head = sql.head.get(lane, line);
    if (head?.state === 1) return;
    const least = sql.least.get(lane, line);
    if (least?.id === head?.id) return;
    if (head) sql.setHead.run(0, head.id);
    if (least) setHead(least.id);
  }

  /** Whether it was made: one that is there already is left as it is. */
  function addRun(
    id: number,
    seq: number,
    at: number,
    line: string | null,
    replay: string,
    { handler, lane, parked }: NewRun,
    bulk = false,
  ): boolean {
    const now = clock();
    const first = !parked && (line === null || !sql.head.get(lane, line));
    const [head, parkedAt] = [first ? 1 : 0, parked ? now : null];
    const words = [id, seq, handler, replay, lane, line, at, head, Number(bulk), now, parkedAt];
    if (sql.run.run(...words).changes === 0) return false;
    if (first) onHead();
    else elect(lane, line);
    return true;
  }

  function wipe(seq: number) {
    sql.wipePayload.run(seq);
    sql.wiped.run(seq);
  }

  /** When the last run of a delivery has ended: a one-time code goes, and retention need not wait any longer. */
  function over(seq: number) {
    const owed = sql.owed.get(seq);
    if (!owed) return;
    if (owed.wipes) wipe(seq);
    sql.free.run(seq);
  }

  return {
    elect,
    wipe,
    over,

    mark({ lane, line, at }: RunOf) {
      if (line !== null) sql.mark.run(lane, line, at);
    },

    /** After a running one's end, whose line then has no head. */
    goOn({ seq, lane, line }: RunOf) {
      over(seq);
      const next = line === null ? null : sql.least.get(lane, line);
      if (next) setHead(next.id);
    },

    /** A waiting run of this delivery is due now. */
    hurry(seq: number, handler: string) {
      const now = clock();
      if (sql.hurry.run(now, seq, handler, now).changes > 0) onHead();
    },

    /** Whether a new run of this line could go at once. */
    isFree: (lane: string, line: string | null) => line === null || !sql.head.get(lane, line),

    addRun,

    /** Returns how many were made: one that is there already is left as it is. */
    addRuns(seq: number, at: number, line: string | null, replay: string, runs: readonly NewRun[], bulk = false) {
      let added = 0;
      for (const run of runs) added += Number(addRun(nextRun(), seq, at, line, replay, run, bulk));
      return added;
    },
  };
}
