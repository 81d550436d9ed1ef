// Durations, counted in buckets of growing width: constant memory for any number of them, quantiles exact to 5 %.

export interface Histogram {
  /** In milliseconds. A negative duration, as after the clock was set back, counts as 0. */
  add(milliseconds: number): void;
  /** Null while the histogram is empty. */
  quantile(fraction: number): number | null;
}

// A bucket for each millisecond up to here; above, each bucket is 10 % wider than the one before.
const EXACT = 16;
const GROWTH = Math.log(1.1);
// These buckets reach five weeks, longer than Svix and Bellhop retry.
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
    quantile(fraction) {
      if (all === 0) return null;
      const wanted = Math.max(1, Math.ceil(all * fraction));
      let seen = 0;
      const bucket = counts.findIndex((count) => (seen += count) >= wanted);
      return bucket < EXACT ? bucket : Math.round(EXACT * Math.exp((bucket - EXACT + 0.5) * GROWTH));
    },
  };
}
