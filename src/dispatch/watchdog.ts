// Reports code that blocks the thread, and ends the process when it never stops. The blocked thread can't do that itself,
// so a second thread watches it. Costs a tick every 200 ms once a handler has run.

export interface Watchdog {
  /** Calls the synchronous beginning of a handler, the only part that can be identified for certain. */
  enter<T>(handler: string, call: () => T): T;
  /** Counts a run of this handler. Returns a function to call when the run has ended. */
  running(handler: string): () => void;
  stop(): void;
}

export interface WatchdogOptions {
  /** The log, to which the second thread writes. */
  logFormat: "pretty" | "json";
  logLevel: "debug" | "info" | "warn" | "error" | "silent";
  /** How long the thread may be blocked before the process ends; 0: forever. */
  blockedSeconds: number;
  /** Replaces 30 s in tests. */
  stuckMs?: number | undefined;
}

/** Indexes of the shared memory: a heartbeat, the handler in its synchronous part (0: none), and runs by handler. */
export const [BEAT, INSIDE, FIRST] = [0, 1, 2];
const MAX_HANDLERS = 1_000;
const BEAT_MS = 200;

export const UNWATCHED: Watchdog = {
  enter: (_handler, call) => call(),
  running: () => () => undefined,
  stop: () => undefined,
};

export function createWatchdog({ logFormat, logLevel, blockedSeconds, stuckMs }: WatchdogOptions): Watchdog {
  if (logLevel === "silent" && blockedSeconds === 0) return UNWATCHED;
  const shared = new Int32Array(new SharedArrayBuffer(4 * (FIRST + MAX_HANDLERS)));
  const places = new Map<string, number>();
  let worker: Worker | undefined;
  let ticker: Timer | undefined;

  /** The index at which a handler is counted. The worker receives its name before the handler can block. */
  function placeOf(handler: string): number {
    const known = places.get(handler);
    if (known !== undefined) return known;
    const place = FIRST + Math.min(places.size, MAX_HANDLERS - 1);
    places.set(handler, place);
    worker ??= startWorker(shared, { logFormat, logLevel, blockedSeconds, stuckMs });
    // Also while no handler runs, because a timer that one has left may block, too.
    ticker ??= setInterval(() => Atomics.add(shared, BEAT, 1), BEAT_MS).unref();
    // All further handlers share the last place.
    const isShared = place === FIRST + MAX_HANDLERS - 1;
    worker.postMessage({ place, handler: isShared ? "one of many handlers" : handler });
    return place;
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
      return () => void Atomics.sub(shared, place, 1);
    },
    stop() {
      clearInterval(ticker);
      worker?.terminate();
    },
  };
}

function startWorker(shared: Int32Array, options: WatchdogOptions): Worker {
  const worker = new Worker(new URL("./watchdog.worker.ts", import.meta.url).href);
  worker.unref();
  worker.postMessage({ shared, options });
  return worker;
}
