// Names a handler that blocks the thread: while it does, nobody here can say so, so a second thread watches.
// It costs a tick every 200 ms while something runs, and nothing else.

export interface Watchdog {
  /** Calls the synchronous beginning of a handler, which is the part that can be blamed for certain. */
  enter<T>(handler: string, call: () => T): T;
  /** A run of this handler goes on; returns what ends it. */
  running(handler: string): () => void;
  stop(): void;
}

/** What the two threads share: a beat, who is in its synchronous part (0: nobody), and runs by handler. */
export const [BEAT, INSIDE, FIRST] = [0, 1, 2];
const MOST_HANDLERS = 1_000;
const BEAT_MS = 200;

/** `format` is that of the log: the other thread writes its line there itself. */
export function createWatchdog(format: "pretty" | "json"): Watchdog {
  const shared = new Int32Array(new SharedArrayBuffer(4 * (FIRST + MOST_HANDLERS)));
  const places = new Map<string, number>();
  let worker: Worker | undefined;
  let ticker: Timer | undefined;
  let runs = 0;

  /** Where a handler is counted. The worker learns its name before anything can block. */
  function placeOf(handler: string): number {
    const known = places.get(handler);
    if (known !== undefined) return known;
    const place = FIRST + Math.min(places.size, MOST_HANDLERS - 1);
    places.set(handler, place);
    worker ??= startWorker(shared, format);
    // All that are too many share the last place.
    const isShared = place === FIRST + MOST_HANDLERS - 1;
    worker.postMessage({ place, handler: isShared ? "one of many handlers" : handler });
    return place;
  }

  function beat() {
    Atomics.add(shared, BEAT, 1);
    // Not at each end: the next run may begin within the same turn.
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

function startWorker(shared: Int32Array, format: "pretty" | "json"): Worker {
  const worker = new Worker(new URL("./watchdog.worker.ts", import.meta.url).href);
  worker.unref();
  worker.postMessage({ shared, format });
  return worker;
}
