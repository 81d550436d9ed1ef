// Counts durations exactly to three digits. It allocates nothing after its creation, so that measuring does not disturb
// what is measured.

import { createHistogram as createCounts, type RecordableHistogram } from "node:perf_hooks";

const HIGHEST_US = 3_600_000_000;

export interface Histogram {
  add(ms: number): void;
  /** Adds the counts of `other`. */
  merge(other: Histogram): void;
  /** The quantile `q` (above 0, to 1) in milliseconds; 0 when nothing was counted. */
  quantile(q: number): number;
  readonly count: number;
  readonly max: number;
  readonly counts: RecordableHistogram;
}

export function createHistogram(): Histogram {
  const counts = createCounts({ lowest: 1, highest: HIGHEST_US, figures: 3 });
  let max = 0;
  return {
    add(ms) {
      counts.record(Math.min(Math.max(1, Math.round(ms * 1_000)), HIGHEST_US));
      if (ms > max) max = ms;
    },
    merge(other) {
      counts.add(other.counts);
      max = Math.max(max, other.max);
    },
    quantile: (q) => Math.min(max, counts.percentile(q * 100) / 1_000),
    get count() {
      return counts.count;
    },
    get max() {
      return max;
    },
    counts,
  };
}

/** The median; NaN of nothing. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
