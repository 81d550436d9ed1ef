// Which deliveries have changed, in order, as far back as a ring in memory reaches. Constant work for each change.

export interface Changes {
  /** Null: a change of nobody knows which delivery. */
  note(id: string | null): void;
  /** How many there were since the server started. */
  readonly count: number;
  /** The deliveries that changed from one count to another, each once; undefined when that is no longer known. */
  between(from: number, until: number): Set<string> | undefined;
  /** A place in it, as text that goes to a browser and comes back. */
  nameOf(count: number): string;
  /** What `nameOf` gave; before everything when it was given at another start, or is not ours. */
  placeOf(name: string): number;
}

const SIZE = 1_024;

export function createChanges(): Changes {
  /** Another start of the server is another count. */
  const start = crypto.randomUUID().slice(0, 8);
  /** The change number `n` is at `n % SIZE`. */
  const ring: (string | null)[] = Array.from({ length: SIZE }, () => null);
  let count = 0;
  return {
    note(id) {
      ring[count % SIZE] = id;
      count += 1;
    },
    get count() {
      return count;
    },
    between(from, until) {
      if (count - from > SIZE) return undefined;
      const ids = new Set<string>();
      for (let each = from; each < until; each += 1) {
        const id = ring[each % SIZE];
        if (id === null || id === undefined) return undefined;
        ids.add(id);
      }
      return ids;
    },
    nameOf: (place) => `${start}.${place}`,
    placeOf(name) {
      const [, of, number] = /^([\da-f]{8})\.(\d{1,15})$/.exec(name) ?? [];
      return of === start && Number(number) <= count ? Number(number) : -Infinity;
    },
  };
}
