// Normalises Clerk's times. Clerk has sent seconds and milliseconds, even in the same field.

// 10^11 ms is in 1973 and 10^11 s is in the year 5138, so a smaller number can only be seconds.
const SECONDS_BELOW = 100_000_000_000;

/** Converts a time in seconds or milliseconds to milliseconds; undefined for anything that is not a time. */
export function toMilliseconds(time: unknown): number | undefined {
  if (typeof time !== "number" || !Number.isFinite(time) || time <= 0) return undefined;
  return Math.round(time < SECONDS_BELOW ? time * 1_000 : time);
}
