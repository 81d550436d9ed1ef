// Time-outs that count only time in which the handler could have run.
// A stall of the whole process (a handler that blocks, a suspended laptop) is nobody's fault and counts for nobody.

// One tick for all that run: a timer for each would cost more than most handlers do. A time-out is this much late at most.
const TICK_MS = 50;
// A tick may come this late before it is a stall: timers are never exact.
const SLACK_MS = 50;

export interface Timeouts {
  /** Calls `expired` once `limit` milliseconds have passed that were neither stalled nor paused, or at the shutdown. */
  start(limit: number, expired: (why: "late" | "shutdown") => void): Timeout;
}

export interface Timeout {
  /** While it waits for something that is not its own. Returns what lets it go on. */
  pause(): () => void;
  /** Twice is once. */
  cancel(): void;
}

interface Running {
  /** On the clock that only counts fair time. */
  end: number;
  pausedAt: number | undefined;
  expired: (why: "late" | "shutdown") => void;
}

/** `shutdown` ends them all at once. */
export function createTimeouts(shutdown: AbortSignal, monotonic: () => number = () => performance.now()): Timeouts {
  const running = new Set<Running>();
  let fair = 0;
  let last = 0;
  let ticker: Timer | undefined;

  function advance(): number {
    const now = monotonic();
    fair += Math.min(now - last, TICK_MS + SLACK_MS);
    last = now;
    return fair;
  }

  function tick() {
    const now = advance();
    // Nothing ticks while nothing runs.
    if (running.size === 0) {
      clearInterval(ticker);
      ticker = undefined;
    }
    const over = [...running].filter(({ end, pausedAt }) => pausedAt === undefined && end <= now);
    for (const each of over.toSorted((a, b) => a.end - b.end)) {
      running.delete(each);
      each.expired("late");
    }
  }

  // One listener for all, for the same reason.
  shutdown.addEventListener("abort", () => {
    const all = [...running];
    running.clear();
    for (const each of all) each.expired("shutdown");
  });

  return {
    start(limit, expired) {
      if (!ticker) {
        last = monotonic();
        ticker = setInterval(tick, TICK_MS).unref();
      }
      const mine: Running = { end: advance() + limit, pausedAt: undefined, expired };
      running.add(mine);
      return {
        pause() {
          mine.pausedAt ??= advance();
          return () => {
            if (mine.pausedAt === undefined) return;
            mine.end += advance() - mine.pausedAt;
            mine.pausedAt = undefined;
          };
        },
        cancel: () => void running.delete(mine),
      };
    },
  };
}
