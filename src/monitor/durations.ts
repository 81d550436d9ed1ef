// A histogram of durations with two decimal digits, so that the usual limits of Prometheus (5 ms, 25 ms, 2.5 s) are exact
// limits of buckets. Constant work for each duration, bounded memory. Pure.

export interface Durations {
  /** In milliseconds. A negative duration, as after the clock was set back, counts as 0. */
  record(milliseconds: number): void;
  readonly count: number;
  /** In milliseconds. */
  readonly sum: number;
  /** Within this many milliseconds, the fraction of all durations ended: at most 10 % too high. Null when there are none. */
  quantile(fraction: number): number | null;
  /** The number of durations of at most this many milliseconds, which has two digits. */
  within(milliseconds: number): number;
  /** The number in each bucket that is not empty, to be stored. */
  counts(): Record<string, number>;
  add(counts: Readonly<Record<string, number>>): void;
}

// Five weeks, longer than Svix and Bellhop retry.
const MAX_MICROSECONDS = 3_024_000_000_000;
const EXACT = 100;
// From 11 to 100 tenths of a decade.
const PER_DECADE = 90;
const BUCKETS = bucketOf(MAX_MICROSECONDS / 1_000) + 1;

export function createDurations(): Durations {
  const buckets = new Float64Array(BUCKETS);
  let count = 0;
  let sum = 0;

  const within = (last: number) => {
    let found = 0;
    for (let index = 0; index <= last; index += 1) found += buckets[index]!;
    return found;
  };

  return {
    record(milliseconds) {
      buckets[bucketOf(milliseconds)]! += 1;
      count += 1;
      sum += Math.max(0, milliseconds);
    },
    get count() {
      return count;
    },
    get sum() {
      return sum;
    },
    quantile(fraction) {
      let left = Math.ceil(count * fraction);
      if (count === 0) return null;
      const index = buckets.findIndex((found) => (left -= found) <= 0);
      return limitOf(index) / 1_000;
    },
    within: (milliseconds) => within(bucketOf(milliseconds)),
    counts() {
      const found: Record<string, number> = {};
      for (const [index, number] of buckets.entries()) if (number > 0) found[index] = number;
      return found;
    },
    add(counts) {
      for (const [key, number] of Object.entries(counts)) {
        const index = Number(key);
        if (!(index < BUCKETS)) continue;
        buckets[index]! += number;
        count += number;
        sum += (number * limitOf(index)) / 1_000;
      }
    },
  };
}

/** Milliseconds to a tenth. */
export function tenths(milliseconds: number | null): number | null {
  return milliseconds === null ? null : Math.round(milliseconds * 10) / 10;
}

/** Microseconds up to 100 have a bucket each; above, each decade has one for each tenth of its end. */
function bucketOf(milliseconds: number): number {
  const microseconds = Math.min(Math.max(1, Math.round(milliseconds * 1_000)), MAX_MICROSECONDS);
  if (microseconds <= EXACT) return microseconds;
  let unit = 10;
  let first = EXACT - 10;
  while (microseconds > unit * 100) {
    unit *= 10;
    first += PER_DECADE;
  }
  return first + Math.ceil(microseconds / unit);
}

/** The highest microseconds of a bucket. */
function limitOf(bucket: number): number {
  if (bucket <= EXACT) return bucket;
  const above = bucket - EXACT - 1;
  return ((above % PER_DECADE) + 11) * 10 ** (1 + Math.floor(above / PER_DECADE));
}
