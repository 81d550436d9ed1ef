// Counts of durations, exact to one part in 64, in one array that never grows: what is measured is not disturbed by
// measuring it.

const STEPS = 64;
// Microseconds below this have a place each; above it every doubling has 64.
const EXACT = 2 * STEPS;
const PLACES = EXACT + 26 * STEPS;

export interface Histogram {
  add(ms: number): void;
  /** All that `other` has counted, too. */
  merge(other: Histogram): void;
  /** Milliseconds that a share (0 to 1) of all stays below. 0 when there is nothing. */
  at(share: number): number;
  readonly count: number;
  readonly max: number;
  readonly places: Float64Array;
}

export function createHistogram(): Histogram {
  const places = new Float64Array(PLACES);
  let [count, max] = [0, 0];
  return {
    add(ms) {
      const place = placeOf(Math.max(0, Math.round(ms * 1_000)));
      places[place] = places[place]! + 1;
      count += 1;
      if (ms > max) max = ms;
    },
    merge(other) {
      other.places.forEach((value, place) => (places[place] = places[place]! + value));
      count += other.count;
      max = Math.max(max, other.max);
    },
    at(share) {
      let left = share * count;
      for (let place = 0; place < PLACES; place += 1) {
        left -= places[place]!;
        if (left < 0) return Math.min(max, microsecondsOf(place) / 1_000);
      }
      return max;
    },
    get count() {
      return count;
    },
    get max() {
      return max;
    },
    places,
  };
}

function placeOf(microseconds: number): number {
  if (microseconds < EXACT) return microseconds;
  // So often halved that 64 to 127 is left.
  const halved = 25 - Math.clz32(microseconds);
  return Math.min(PLACES - 1, EXACT + (halved - 1) * STEPS + ((microseconds >>> halved) - STEPS));
}

function microsecondsOf(place: number): number {
  if (place < EXACT) return place;
  const halved = Math.floor((place - EXACT) / STEPS) + 1;
  return (STEPS + ((place - EXACT) % STEPS) + 0.5) * 2 ** halved;
}

/** The middle one of a few numbers. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
