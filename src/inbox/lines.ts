// The order of runs: of each lane and line one run is the head, the only one that may go. Each function is part of one
// commit and leaves it so that the least open run of the line is its head, unless one of them is running.

import type { NewRun } from "./inbox.ts";
import type { RunOf, Statements } from "./statements.ts";

export type Lines = ReturnType<typeof createLines>;

/** `onHead` hears of each run that may now go. */
export function createLines(sql: Statements, clock: () => number, onHead: () => void) {
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

    /** After a running one's end, whose line then has no head. */
    goOn({ seq, lane, line, at }: RunOf, done: boolean) {
      if (done && line !== null) sql.mark.run(lane, line, at);
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

    /** Returns how many were made: one that is there already is left as it is. */
    addRuns(
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
        if (first) onHead();
        if (!first && changes > 0) elect(lane, line);
      }
      return added;
    },
  };
}
