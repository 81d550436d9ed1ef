// When a failed run goes again. Pure: randomness is an argument.

import { parseDuration } from "../duration.ts";

const FIRST_MS = 5_000;
const FACTOR = 4;
const LONGEST_MS = 12 * 3_600_000;
// So that runs which failed together do not come back together.
const JITTER = 0.2;

/**
 * Milliseconds until the next attempt after `failed` attempts: 5 s, 20 s, 80 s … at most 12 h, ±20 %.
 * `random` gives a number from 0 to 1.
 */
export function retryDelay(failed: number, random: () => number = Math.random): number {
  const plain = Math.min(FIRST_MS * FACTOR ** (failed - 1), LONGEST_MS);
  return Math.round(plain * (1 + JITTER * (2 * random() - 1)));
}

/** Milliseconds from `now` until `when`: a wait in milliseconds, a duration, or a moment. Never below zero. */
export function delayUntil(when: number | string | Date, now: number): number {
  const delay = when instanceof Date ? when.getTime() - now : parseDuration(when);
  if (!Number.isFinite(delay)) throw new TypeError("an invalid Date is no time to try again");
  return Math.max(0, delay);
}
