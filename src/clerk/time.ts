// Clerk has sent times in seconds and in milliseconds, also in one and the same field.

// 10^11 ms is 1973 and 10^11 s is the year 5138: below it, a number can only be meant as seconds.
const SECONDS_BELOW = 100_000_000_000;

/** Milliseconds, or undefined for what is no time. */
export function toMilliseconds(time: unknown): number | undefined {
  if (typeof time !== "number" || !Number.isFinite(time) || time <= 0) return undefined;
  return Math.round(time < SECONDS_BELOW ? time * 1_000 : time);
}
