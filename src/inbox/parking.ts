// Runs whose file does not load: they wait for it, hold up nobody, and are skipped after 24 hours.
// Each function is part of one commit and takes at most so many; whoever calls it goes on until nothing is left.

import type { Lines } from "./lines.ts";
import type { Statements } from "./statements.ts";

const DAY_MS = 86_400_000;
// 10 µs each: a million of them are parked in steps that nobody notices.
const MOST = 500;

export function createParking(sql: Statements, { elect, wipe, over }: Lines, clock: () => number, onHead: () => void) {
  function change(id: number, lane: string, line: string | null, parks: boolean) {
    const now = clock();
    sql.setParked.run(parks ? now : null, line === null && !parks ? 1 : 0, now, id);
    if (line === null) onHead();
    else elect(lane, line);
  }

  return {
    /** Returns whether there may be more. */
    park(loaded: ReadonlySet<string>): boolean {
      let left = MOST;
      for (const [parks, handlers, runs] of [
        [true, sql.waitingHandlers, sql.going],
        [false, sql.parkedHandlers, sql.parked],
      ] as const)
        for (const { handler } of handlers.all()) {
          if (loaded.has(handler) === parks || left === 0) continue;
          const found = runs.all(handler, left);
          for (const { id, lane, line } of found) change(id, lane, line, parks);
          left -= found.length;
        }
      return left === 0;
    },

    /** Wipes overdue one-time codes, skips what was parked for 24 hours. Returns whether there may be more. */
    sweep(): boolean {
      const now = clock();
      const overdue = sql.overdue.all(now, MOST);
      for (const { seq } of overdue) wipe(seq);
      const long = sql.parkedLong.all(now - DAY_MS, MOST);
      for (const { id } of long) {
        const ended = sql.giveUp.get("its handler's file was missing or broken for 24 hours", id);
        if (ended) over(ended.seq);
      }
      return overdue.length === MOST || long.length === MOST;
    },

    /** A waiting run ends: `dead`, or `skipped` if it was parked. */
    giveUp(run: number, reason: string): boolean {
      const ended = sql.giveUp.get(reason, run);
      if (!ended) return false;
      over(ended.seq);
      elect(ended.lane, ended.line);
      return true;
    },

    retryNow(run: number): boolean {
      const isDue = sql.retryNow.get(clock(), run) !== null;
      if (isDue) onHead();
      return isDue;
    },
  };
}
