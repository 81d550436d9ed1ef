// A clock that only the test moves.

import type { Clock } from "../../src/cli/relay.ts";

export interface FakeClock extends Clock {
  /** Moves the clock, and calls each timer that becomes due on the way. */
  advance(milliseconds: number): void;
  /** Milliseconds until the next timer is due; infinite without one. */
  dueIn(): number;
}

export function fakeClock(): FakeClock {
  let at = 0;
  const timers = new Map<symbol, { due: number; call: () => void }>();
  return {
    now: () => at,
    after(milliseconds, call) {
      const key = Symbol();
      timers.set(key, { due: at + milliseconds, call });
      return () => timers.delete(key);
    },
    dueIn: () => Math.min(Infinity, ...[...timers.values()].map(({ due }) => due - at)),
    advance(milliseconds) {
      const end = at + milliseconds;
      while (true) {
        const [next] = [...timers].filter(([, { due }]) => due <= end).toSorted(([, a], [, b]) => a.due - b.due);
        if (!next) break;
        const [key, { due, call }] = next;
        timers.delete(key);
        at = due;
        call();
      }
      at = end;
    },
  };
}
