// How many runs of each handler may begin, and how many of those run at a time. Slots are per handler, so that one which
// hangs in all of its own delays no other. Of a quick handler more are begun than run: one commit then begins many, and
// they wait here for their turn.

export interface Slots {
  take(handler: string): void;
  /** Takes one if there is one. */
  takeFree(handler: string): boolean;
  giveBack(handler: string): void;
  /** The handlers of these that have free slots, and how many. */
  free(handlers: Iterable<string>): Map<string, number>;
  /** Takes half of what is free for what waits, and leaves the other half to what comes meanwhile. */
  reserve(handlers: Iterable<string>): Map<string, number>;
  /** What was reserved is free again: who has got a slot of it takes that. */
  release(reserved: ReadonlyMap<string, number>): void;
  /** Most often at once, it is this handler's turn; what it gives is called when the handler has ended. */
  turn(handler: string): (() => void) | Promise<() => void>;
  /** Nobody waits for a turn any longer: what has not run will not. */
  open(): void;
}

/** How many times as many may have begun as run. */
function ahead(took: number): number {
  return took < SLOW_MS ? Math.min(MOST_AHEAD, Math.floor(TURN_MS / took)) : 1;
}

interface Handler {
  taken: number;
  running: number;
  queue: (() => void)[];
  /** Milliseconds that a run takes, of late. */
  took: number;
}

// A run that waits for its turn has begun: it should not wait for longer.
const TURN_MS = 80;
// Those that have begun and wait are innocent, and have to go again after a crash.
const MOST_AHEAD = 32;
// What nobody has seen yet may be slow.
const SLOW_MS = 20;
const LATELY = 0.2;

/** `each` is the number of runs at a time of every handler. */
export function createSlots(each: number, now: () => number = () => performance.now()): Slots {
  const handlers = new Map<string, Handler>();
  let isOpen = false;

  function of(name: string): Handler {
    const known = handlers.get(name);
    if (known) return known;
    const made = { taken: 0, running: 0, queue: [], took: SLOW_MS };
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

  const left = ({ taken, took }: Handler) => each * ahead(took) - taken;

  function free(names: Iterable<string>) {
    const all = [...names].map((name) => [name, left(of(name))] as const);
    return new Map(all.filter(([, slots]) => slots > 0));
  }

  return {
    take: (name) => void (of(name).taken += 1),
    takeFree(name) {
      const handler = of(name);
      if (left(handler) <= 0) return false;
      handler.taken += 1;
      return true;
    },
    giveBack: (name) => void (of(name).taken -= 1),
    free,
    reserve(names) {
      const reserved = new Map([...free(names)].map(([name, slots]) => [name, Math.ceil(slots / 2)]));
      for (const [name, slots] of reserved) of(name).taken += slots;
      return reserved;
    },
    release(reserved) {
      for (const [name, slots] of reserved) of(name).taken -= slots;
    },
    turn(name) {
      const handler = of(name);
      if (handler.running < each || isOpen) return entered(handler);
      // It enters in the moment in which another one leaves: nobody gets in between.
      return new Promise((resolve) => handler.queue.push(() => resolve(entered(handler))));
    },
    open() {
      isOpen = true;
      for (const { queue } of handlers.values()) for (const go of queue.splice(0)) go();
    },
  };
}
