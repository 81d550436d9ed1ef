// Reports a handler that blocks the thread. The blocked thread can't do that itself, so a second thread watches it.
// Costs a tick every 200 ms while handlers run.

export interface Watchdog {
  /** Calls the synchronous beginning of a handler, the only part that can be identified for certain. */
  enter<T>(handler: string, call: () => T): T;
  /** Counts a run of this handler. Returns a function to call when the run has ended. */
  running(handler: string): () => void;
  stop(): void;
}

/** Indexes of the shared memory: a heartbeat, the handler in its synchronous part (0: none), and runs by handler. */
export const [BEAT, INSIDE, FIRST] = [0, 1, 2];
const MAX_HANDLERS = 1_000;
const BEAT_MS = 200;

/** `none`: the log excludes warnings, so there is no watchdog. */
export type LogFormat = "pretty" | "json" | "none";

/** `format` is that of the log, to which the second thread writes. `stuckMs` replaces 30 s in tests. */
export function createWatchdog(format: LogFormat, stuckMs?: number): Watchdog {
  if (format === "none")
    return { enter: (_handler, call) => call(), running: () => () => undefined, stop: () => undefined };
  const shared = new Int32Array(new SharedArrayBuffer(4 * (FIRST + MAX_HANDLERS)));
  const places = new Map<string, number>();
  let worker: Worker | undefined;
  let ticker: Timer | undefined;
  let runs = 0;

  /** The index at which a handler is counted. The worker receives its name before the handler can block. */
  function placeOf(handler: string): number {
    const known = places.get(handler);
    if (known !== undefined) return known;
    const place = FIRST + Math.min(places.size, MAX_HANDLERS - 1);
    places.set(handler, place);
    worker ??= startWorker(shared, format, stuckMs);
    // All further handlers share the last place.
    const isShared = place === FIRST + MAX_HANDLERS - 1;
    worker.postMessage({ place, handler: isShared ? "one of many handlers" : handler });
    return place;
  }

  function beat() {
    Atomics.add(shared, BEAT, 1);
    // Checked here and not when a run ends, because the next run may begin in the same turn.
    if (runs > 0) return;
    clearInterval(ticker);
    ticker = undefined;
  }

  return {
    enter(handler, call) {
      Atomics.store(shared, INSIDE, placeOf(handler));
      try {
        return call();
      } finally {
        Atomics.store(shared, INSIDE, 0);
      }
    },
    running(handler) {
      const place = placeOf(handler);
      Atomics.add(shared, place, 1);
      runs += 1;
      Atomics.add(shared, BEAT, 1);
      ticker ??= setInterval(beat, BEAT_MS).unref();
      return () => {
        Atomics.sub(shared, place, 1);
        runs -= 1;
      };
    },
    stop() {
      clearInterval(ticker);
      worker?.terminate();
    },
  };
}

function startWorker(shared: Int32Array, format: LogFormat, stuckMs: number | undefined): Worker {
  const worker = new Worker(new URL("./watchdog.worker.ts", import.meta.url).href);
  worker.unref();
  worker.postMessage({ shared, format, stuckMs });
  return worker;
}
