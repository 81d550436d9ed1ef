// Remembers which deliveries changed, in order, in a ring buffer. Constant work for each change.

export interface Changes {
  /** Null when the delivery of a change is unknown. */
  add(id: string | null): void;
  /** Changes since the server started. */
  readonly count: number;
  /** The deliveries that changed between two counts, each once; undefined when the ring no longer has them all. */
  between(from: number, until: number): Set<string> | undefined;
  /** A count as the id of a server-sent event. */
  eventId(count: number): string;
  /** The count of an event id; -Infinity when the id comes from an earlier start of the server, or is malformed. */
  countOf(eventId: string): number;
}

const SIZE = 1_024;

export function createChanges(): Changes {
  /** Distinguishes the counts of this start from those of earlier ones. */
  const start = crypto.randomUUID().slice(0, 8);
  /** Change number `n` is at `n % SIZE`. */
  const ring: (string | null)[] = Array.from({ length: SIZE }, () => null);
  let count = 0;
  return {
    add(id) {
      ring[count % SIZE] = id;
      count += 1;
    },
    get count() {
      return count;
    },
    between(from, until) {
      if (count - from > SIZE) return undefined;
      const ids = new Set<string>();
      for (let index = from; index < until; index += 1) {
        const id = ring[index % SIZE];
        if (id === null || id === undefined) return undefined;
        ids.add(id);
      }
      return ids;
    },
    eventId: (at) => `${start}.${at}`,
    countOf(eventId) {
      const [, startOf, number] = /^([\da-f]{8})\.(\d{1,15})$/.exec(eventId) ?? [];
      return startOf === start && Number(number) <= count ? Number(number) : -Infinity;
    },
  };
}
