// Durations as counts in buckets that grow: any number of them in one size, and quantiles that are right to 5 %.

export interface Histogram {
  /** Milliseconds; what is negative, as after a clock was set, counts as 0. */
  add(milliseconds: number): void;
  /** Null when there is nothing in it. */
  quantile(part: number): number | null;
}

// Whole milliseconds up to here; from there on each bucket is a tenth wider than the one before.
const EXACT = 16;
const GROWTH = Math.log(1.1);
// Up to five weeks, longer than Svix tries and runs are retried.
const BUCKETS = 256;

export function createHistogram(): Histogram {
  const counts = new Uint32Array(BUCKETS);
  let all = 0;
  return {
    add(milliseconds) {
      const value = Math.max(0, milliseconds);
      const index = value < EXACT ? Math.floor(value) : EXACT + Math.floor(Math.log(value / EXACT) / GROWTH);
      const bucket = Math.min(index, BUCKETS - 1);
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      all += 1;
    },
    quantile(part) {
      if (all === 0) return null;
      const wanted = Math.max(1, Math.ceil(all * part));
      let seen = 0;
      const bucket = counts.findIndex((count) => (seen += count) >= wanted);
      return bucket < EXACT ? bucket : Math.round(EXACT * Math.exp((bucket - EXACT + 0.5) * GROWTH));
    },
  };
}
