// Counts durations in buckets that are exact to one part in 64. It allocates nothing after its creation, so that measuring
// does not disturb what is measured.

const BUCKETS_PER_DOUBLING = 64;
// Each microsecond below this has a bucket of its own; above it, every doubling has 64.
const EXACT_BELOW = 2 * BUCKETS_PER_DOUBLING;
const BUCKET_COUNT = EXACT_BELOW + 26 * BUCKETS_PER_DOUBLING;

export interface Histogram {
  add(ms: number): void;
  /** Adds the counts of `other`. */
  merge(other: Histogram): void;
  /** The quantile `q` (0 to 1) in milliseconds; 0 when nothing was counted. */
  quantile(q: number): number;
  readonly count: number;
  readonly max: number;
  readonly buckets: Float64Array;
}

export function createHistogram(): Histogram {
  const buckets = new Float64Array(BUCKET_COUNT);
  let [count, max] = [0, 0];
  return {
    add(ms) {
      const bucket = bucketOf(Math.max(0, Math.round(ms * 1_000)));
      buckets[bucket] = buckets[bucket]! + 1;
      count += 1;
      if (ms > max) max = ms;
    },
    merge(other) {
      other.buckets.forEach((value, bucket) => (buckets[bucket] = buckets[bucket]! + value));
      count += other.count;
      max = Math.max(max, other.max);
    },
    quantile(q) {
      let remaining = q * count;
      for (let bucket = 0; bucket < BUCKET_COUNT; bucket += 1) {
        remaining -= buckets[bucket]!;
        if (remaining < 0) return Math.min(max, microsecondsOf(bucket) / 1_000);
      }
      return max;
    },
    get count() {
      return count;
    },
    get max() {
      return max;
    },
    buckets,
  };
}

function bucketOf(microseconds: number): number {
  if (microseconds < EXACT_BELOW) return microseconds;
  // The number of halvings that leave 64 to 127.
  const halvings = 25 - Math.clz32(microseconds);
  return Math.min(
    BUCKET_COUNT - 1,
    EXACT_BELOW + (halvings - 1) * BUCKETS_PER_DOUBLING + ((microseconds >>> halvings) - BUCKETS_PER_DOUBLING),
  );
}

function microsecondsOf(bucket: number): number {
  if (bucket < EXACT_BELOW) return bucket;
  const halvings = Math.floor((bucket - EXACT_BELOW) / BUCKETS_PER_DOUBLING) + 1;
  return (BUCKETS_PER_DOUBLING + ((bucket - EXACT_BELOW) % BUCKETS_PER_DOUBLING) + 0.5) * 2 ** halvings;
}

/** The median; NaN of nothing. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
