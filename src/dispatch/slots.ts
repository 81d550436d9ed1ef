// Limits the claimed and the concurrent runs of each handler. Slots are per handler, so a handler that hangs delays no
// other. For a fast handler, more runs are claimed than run concurrently, so that one commit claims many; they queue here.

export interface Slots {
  take(handler: string): void;
  giveBack(handler: string): void;
  /** The number of free slots of each of these handlers that has any. */
  free(handlers: Iterable<string>): Map<string, number>;
  /** Waits until another run may start, most often not at all. Returns a function to call when the run has ended. */
  acquire(handler: string): (() => void) | Promise<() => void>;
  /** Ends all waits, because the server stops and releases runs that have not started. */
  drain(): void;
}

interface HandlerSlots {
  taken: number;
  running: number;
  queue: (() => void)[];
  /** Recent milliseconds per run. */
  took: number;
}

// The longest that a claimed run should wait for its turn.
const TURN_MS = 80;
// Bounds the runs that a crash interrupts before they have started.
const MAX_AHEAD = 32;
// A handler that has not run yet is assumed to be slow.
const SLOW_MS = 20;
const WEIGHT_OF_LATEST = 0.2;

/** `concurrency` is the number of runs of each handler at the same time. */
export function createSlots(concurrency: number, now: () => number = () => performance.now()): Slots {
  const handlers = new Map<string, HandlerSlots>();
  let isDraining = false;

  function of(name: string): HandlerSlots {
    const known = handlers.get(name);
    if (known) return known;
    const created = { taken: 0, running: 0, queue: [], took: SLOW_MS };
    handlers.set(name, created);
    return created;
  }

  function enter(handler: HandlerSlots): () => void {
    const start = now();
    handler.running += 1;
    return () => {
      handler.running -= 1;
      handler.took += WEIGHT_OF_LATEST * (now() - start - handler.took);
      handler.queue.shift()?.();
    };
  }

  return {
    take: (name) => void (of(name).taken += 1),
    giveBack: (name) => void (of(name).taken -= 1),
    free(names) {
      const free = new Map<string, number>();
      for (const name of names) {
        const { taken, took } = of(name);
        const slots = concurrency * claimsAhead(took) - taken;
        if (slots > 0) free.set(name, slots);
      }
      return free;
    },
    acquire(name) {
      const handler = of(name);
      if (handler.running < concurrency || isDraining) return enter(handler);
      // The next run starts at the moment in which another one ends, so that no third one starts in between.
      return new Promise((resolve) => handler.queue.push(() => resolve(enter(handler))));
    },
    drain() {
      isDraining = true;
      for (const { queue } of handlers.values()) for (const start of queue.splice(0)) start();
    },
  };
}

/** How many runs may be claimed per concurrent run. */
function claimsAhead(took: number): number {
  return took < SLOW_MS ? Math.min(MAX_AHEAD, Math.floor(TURN_MS / took)) : 1;
}
