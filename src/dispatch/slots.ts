// How many runs of each handler may begin, and how many of those run at a time. Slots are per handler, so that one which
// hangs in all of its own delays no other. Of a quick handler more are begun than run: one commit then begins many, and
// they wait here for their turn.

export interface Slots {
  take(handler: string): void;
  giveBack(handler: string): void;
  /** The handlers of these that have free slots, and how many. */
  free(handlers: Iterable<string>): Map<string, number>;
  /** Resolves when it is this handler's turn; what it gives is called when the handler has ended. */
  turn(handler: string): Promise<() => void>;
  /** Nobody waits for a turn any longer: what has not run will not. */
  open(): void;
}

interface Handler {
  taken: number;
  running: number;
  queue: (() => void)[];
  /** Milliseconds that a run takes, of late. */
  took: number;
}

// Begun ahead: four times as many as run. In a crash, those are innocent ones that have to go again.
const AHEAD = 4;
// A run that waits for its turn has begun: it should not wait for long.
const QUICK_MS = 20;
const LATELY = 0.2;

/** `each` is the number of runs at a time of every handler. */
export function createSlots(each: number, now: () => number = () => performance.now()): Slots {
  const handlers = new Map<string, Handler>();
  let isOpen = false;

  function of(name: string): Handler {
    const known = handlers.get(name);
    if (known) return known;
    // What nobody has seen yet may be slow.
    const made = { taken: 0, running: 0, queue: [], took: QUICK_MS };
    handlers.set(name, made);
    return made;
  }

  function entered(handler: Handler): () => void {
    const began = now();
    handler.running += 1;
    return () => {
      handler.running -= 1;
      handler.took += LATELY * (now() - began - handler.took);
      handler.queue.shift()?.();
    };
  }

  return {
    take: (name) => void (of(name).taken += 1),
    giveBack: (name) => void (of(name).taken -= 1),
    free(names) {
      const free = [...names].map((name) => {
        const { taken, took } = of(name);
        return [name, (took < QUICK_MS ? each * AHEAD : each) - taken] as const;
      });
      return new Map(free.filter(([, slots]) => slots > 0));
    },
    async turn(name) {
      const handler = of(name);
      if (handler.running >= each && !isOpen) await new Promise<void>((resolve) => handler.queue.push(resolve));
      return entered(handler);
    },
    open() {
      isOpen = true;
      for (const { queue } of handlers.values()) for (const go of queue.splice(0)) go();
    },
  };
}
