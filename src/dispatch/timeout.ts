// Timeouts that count only time in which the handler could run. A stall of the whole process (a handler that blocks, a
// suspended laptop) and a wait for the database do not count.

// All attempts share one tick: a timer per attempt would cost more than most handlers. A timeout is at most this late.
const TICK_MS = 50;
// Timers are inexact. A tick that is later than this counts as a stall.
const SLACK_MS = 50;

export type Timeouts = ReturnType<typeof createTimeouts>;
export type Timeout = ReturnType<Timeouts["start"]>;

interface PendingTimeout {
  /** On the clock that excludes stalls. */
  end: number;
  pausedAt: number | undefined;
  expired: (why: "late" | "shutdown") => void;
}

/** A time in which attempts may run. Its end ends all of them. */
export function startEpoch(shutdown: AbortSignal) {
  const controller = new AbortController();
  const { signal } = controller;
  shutdown.addEventListener("abort", () => controller.abort(), { once: true, signal });
  return { signal, timeouts: createTimeouts(signal), abort: () => controller.abort() };
}

/** `shutdown` ends all timeouts at once. */
export function createTimeouts(shutdown: AbortSignal, monotonic: () => number = () => performance.now()) {
  const pending = new Set<PendingTimeout>();
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
    if (pending.size === 0) {
      clearInterval(ticker);
      ticker = undefined;
    }
    const expired = [...pending].filter(({ end, pausedAt }) => pausedAt === undefined && end <= now);
    for (const timeout of expired.toSorted((a, b) => a.end - b.end)) {
      pending.delete(timeout);
      timeout.expired("late");
    }
  }

  // All timeouts share one listener, for the same reason as the tick.
  shutdown.addEventListener("abort", () => {
    const ended = [...pending];
    pending.clear();
    for (const timeout of ended) timeout.expired("shutdown");
  });

  return {
    /** Calls `expired` once `limit` milliseconds have passed that were neither stalled nor paused, or at the shutdown. */
    start(limit: number, expired: PendingTimeout["expired"]) {
      if (!ticker) {
        last = monotonic();
        ticker = setInterval(tick, TICK_MS).unref();
      }
      const timeout: PendingTimeout = { end: advance() + limit, pausedAt: undefined, expired };
      pending.add(timeout);
      return {
        /** Stops the clock while the attempt waits for the database. Returns a function that restarts it. */
        pause(): () => void {
          timeout.pausedAt ??= advance();
          return () => {
            if (timeout.pausedAt === undefined) return;
            timeout.end += advance() - timeout.pausedAt;
            timeout.pausedAt = undefined;
          };
        },
        /** May be repeated. */
        cancel: () => void pending.delete(timeout),
      };
    },
  };
}
