// Learns how many deliveries to expect at which hour of the week, and judges how unlikely it is that none came. Pure.

export interface Rhythm {
  /** Deliveries that are expected between two Unix times in milliseconds. */
  expected(from: number, until: number): number;
  /** Whether so many expected deliveries can't have failed to come by chance. */
  isSilent(expected: number): boolean;
}

const HOUR_MS = 3_600_000;
const HOURS_PER_WEEK = 168;
/** One sign-up causes this many events: `user.created`, `session.created`, an e-mail, an update. */
const MIN_CLUSTER = 4;
// Ten years with at most one false report.
const WEEKS_OF_A_FALSE_REPORT = 520;
// The rhythm of a few weeks is an estimate.
const MARGIN = 1.25;
// An import of many users in one hour must not hide the usual rhythm.
const USUAL_QUANTILE = 0.95;
const MAX_TIMES_USUAL = 2;

/**
 * Learns from the deliveries of each hour (by its start) until `until`. Undefined before a week has passed since the first
 * one, because a weekend is not silence.
 */
export function learnRhythm(deliveriesPerHour: ReadonlyMap<number, number>, until: number): Rhythm | undefined {
  const first = Math.min(...[...deliveriesPerHour].filter(([, count]) => count > 0).map(([start]) => start));
  const hours = Math.floor((until - first) / HOUR_MS);
  if (!(hours >= HOURS_PER_WEEK)) return undefined;
  const cap = MAX_TIMES_USUAL * usualCount(deliveriesPerHour);
  const counts = Array.from({ length: hours }, (_, index) => {
    const start = first + index * HOUR_MS;
    return { hour: hourOfWeek(start), count: Math.min(cap, deliveriesPerHour.get(start) ?? 0) };
  });
  const byHour = Map.groupBy(counts, ({ hour }) => hour);
  const means = Array.from({ length: HOURS_PER_WEEK }, (_, hour) => mean(byHour.get(hour)!.map(({ count }) => count)));
  const cluster = Math.max(MIN_CLUSTER, dispersion(counts, means));
  // Each pause between two clusters is a chance for a false report. One without a cluster where `n` are expected has the
  // probability e^-n.
  const perWeek = means.reduce((sum, count) => sum + count, 0) / cluster;
  const margin = MARGIN * (1 + HOURS_PER_WEEK / hours);
  const evidence = margin * Math.log(WEEKS_OF_A_FALSE_REPORT * Math.max(1, perWeek));

  return {
    expected(from, to) {
      let sum = 0;
      for (let start = Math.floor(from / HOUR_MS) * HOUR_MS; start < to; start += HOUR_MS) {
        const part = Math.min(to, start + HOUR_MS) - Math.max(from, start);
        sum += means[hourOfWeek(start)]! * (part / HOUR_MS);
      }
      return sum;
    },
    isSilent: (expected) => expected / cluster >= evidence,
  };
}

/** The variance of the counts divided by their mean: the size of the clusters in which deliveries come. */
function dispersion(counts: readonly { hour: number; count: number }[], means: readonly number[]): number {
  const weeks = counts.length / HOURS_PER_WEEK;
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const squares = counts.reduce((sum, { hour, count }) => sum + (count - means[hour]!) ** 2, 0);
  // The means were estimated from the same counts; from a single week, nothing can be learned.
  return weeks < 2 ? MIN_CLUSTER : (squares / total) * (weeks / (weeks - 1));
}

function usualCount(deliveriesPerHour: ReadonlyMap<number, number>): number {
  const counts = [...deliveriesPerHour.values()].filter((count) => count > 0).toSorted((a, b) => a - b);
  return counts[Math.floor((counts.length - 1) * USUAL_QUANTILE)] ?? 0;
}

function hourOfWeek(time: number): number {
  return Math.floor(time / HOUR_MS) % HOURS_PER_WEEK;
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
