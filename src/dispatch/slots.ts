// Limits the claimed and the concurrent runs of each handler. Slots are per handler, so a handler that hangs delays no
// other. For a fast handler, more runs are claimed than run concurrently, so that one commit claims many; they queue here,
// but not for long: a claimed run holds up earlier events that arrive meanwhile, and other servers can't run it.

type Release = () => void;

interface HandlerSlots {
  taken: number;
  /** When each concurrent run started, in that order. */
  running: Set<{ since: number }>;
  queue: { since: number; start: (mayRun: boolean) => void }[];
  /** Ends waits that take too long. */
  timer: Timer | undefined;
  /** Recent milliseconds per run. */
  took: number;
}

// The longest that a claimed run should wait for its turn.
const TURN_MS = 80;
// Then it is given back: the runs before it take longer than was expected.
const MAX_TURN_MS = 500;
// Bounds the runs that a crash interrupts before they have started.
const MAX_AHEAD = 32;
// A handler that has not run yet is assumed to be slow.
const SLOW_MS = 20;
const WEIGHT_OF_LATEST = 0.2;

/** `concurrency` is the number of runs of each handler at the same time. */
export function createSlots(concurrency: number, now: () => number = () => performance.now()) {
  const handlers = new Map<string, HandlerSlots>();
  let isDraining = false;

  function of(name: string): HandlerSlots {
    const known = handlers.get(name);
    if (known) return known;
    const created: HandlerSlots = { taken: 0, running: new Set(), queue: [], timer: undefined, took: SLOW_MS };
    handlers.set(name, created);
    return created;
  }

  function enter(handler: HandlerSlots): Release {
    const run = { since: now() };
    handler.running.add(run);
    return () => {
      if (!handler.running.delete(run)) return;
      handler.took += WEIGHT_OF_LATEST * (now() - run.since - handler.took);
      handler.queue.shift()?.start(true);
    };
  }

  /** The number of runs to have claimed: several per concurrent run, unless that one takes long. */
  function capacity({ running, took }: HandlerSlots): number {
    let long = 0;
    for (const { since } of running) {
      if (now() - since <= TURN_MS) break;
      long += 1;
    }
    return (concurrency - long) * claimsAhead(took) + long;
  }

  function endLongWaits(handler: HandlerSlots) {
    const { queue } = handler;
    while (queue[0] && now() - queue[0].since >= MAX_TURN_MS) queue.shift()!.start(false);
    handler.timer = undefined;
    watch(handler);
  }

  function watch(handler: HandlerSlots) {
    const [first] = handler.queue;
    if (!first || handler.timer) return;
    handler.timer = setTimeout(() => endLongWaits(handler), first.since + MAX_TURN_MS - now()).unref();
  }

  return {
    take: (name: string) => void (of(name).taken += 1),
    giveBack: (name: string) => void (of(name).taken -= 1),
    /** The number of free slots of each of these handlers that has any. */
    free(names: Iterable<string>): Map<string, number> {
      const free = new Map<string, number>();
      for (const name of names) {
        const handler = of(name);
        const slots = capacity(handler) - handler.taken;
        if (slots > 0) free.set(name, slots);
      }
      return free;
    },
    /**
     * Waits until another run may start, most often not at all. Returns a function to call when the run has ended, or
     * undefined when the wait took too long. A repeated call does nothing.
     */
    acquire(name: string): Release | Promise<Release | undefined> {
      const handler = of(name);
      if (handler.running.size < concurrency || isDraining) return enter(handler);
      // The next run starts at the moment in which another one ends, so that no third one starts in between.
      return new Promise((resolve) => {
        const start = (mayRun: boolean) => resolve(mayRun ? enter(handler) : undefined);
        handler.queue.push({ since: now(), start });
        watch(handler);
      });
    },
    /** Ends all waits, because the server stops and releases runs that have not started. */
    drain() {
      isDraining = true;
      for (const { queue, timer } of handlers.values()) {
        clearTimeout(timer);
        for (const { start } of queue.splice(0)) start(true);
      }
    },
  };
}

/** How many runs may be claimed per concurrent run. */
function claimsAhead(took: number): number {
  return took < SLOW_MS ? Math.min(MAX_AHEAD, Math.floor(TURN_MS / took)) : 1;
}
