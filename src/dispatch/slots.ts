// How many runs of each handler may still begin. Slots are per handler, so that one which hangs in all of its own
// delays no other.

export interface Slots {
  take(handler: string): void;
  giveBack(handler: string): void;
  /** The handlers of these that have free slots, and how many. */
  free(handlers: Iterable<string>): Map<string, number>;
}

/** `each` is the number of slots that every handler has. */
export function createSlots(each: number): Slots {
  const taken = new Map<string, number>();
  const add = (handler: string, count: 1 | -1) => taken.set(handler, (taken.get(handler) ?? 0) + count);
  return {
    take: (handler) => void add(handler, 1),
    giveBack: (handler) => void add(handler, -1),
    free(handlers) {
      const free = [...handlers].map((name) => [name, each - (taken.get(name) ?? 0)] as const);
      return new Map(free.filter(([, slots]) => slots > 0));
    },
  };
}
