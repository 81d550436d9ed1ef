// Time-outs that count only time in which the handler could have run.
// A stall of the whole process (a handler that blocks, a suspended laptop) is nobody's fault and counts for nobody.

const TICK_MS = 50;
// A tick may come this late before it is a stall: timers are never exact.
const SLACK_MS = 50;
const HOUR_MS = 3_600_000;

export interface Timeouts {
  /** Calls `expired` once `limit` milliseconds have passed that were neither stalled nor paused. */
  start(limit: number, expired: () => void): Timeout;
}

export interface Timeout {
  /** While it waits for something that is not its own. Returns what lets it go on. */
  pause(): () => void;
  /** Twice is once. */
  cancel(): void;
}

export function createTimeouts(monotonic: () => number = () => performance.now()): Timeouts {
  let fair = 0;
  let last = 0;
  let running = 0;
  let ticker: Timer | undefined;

  function advance(): number {
    const now = monotonic();
    fair += Math.min(now - last, TICK_MS + SLACK_MS);
    last = now;
    return fair;
  }

  return {
    start(limit, expired) {
      // Nothing ticks while nothing runs.
      if (running === 0) {
        last = monotonic();
        ticker = setInterval(advance, TICK_MS).unref();
      }
      running += 1;
      let end = advance() + limit;
      let timer = setTimeout(check, Math.min(limit, HOUR_MS));
      let pausedAt: number | undefined;
      let over = false;

      function check() {
        const left = end - advance();
        if (pausedAt !== undefined) return;
        if (left <= 0) expired();
        // An hour at a time: setTimeout overflows at 24.8 days.
        else timer = setTimeout(check, Math.min(left, HOUR_MS));
      }

      return {
        pause() {
          pausedAt ??= advance();
          return () => {
            if (pausedAt === undefined || over) return;
            end += advance() - pausedAt;
            pausedAt = undefined;
            clearTimeout(timer);
            check();
          };
        },
        cancel() {
          if (over) return;
          over = true;
          clearTimeout(timer);
          running -= 1;
          if (running === 0) clearInterval(ticker);
        },
      };
    },
  };
}
