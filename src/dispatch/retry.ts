// Whether and when a run goes again, after a failure and after a crash. Pure: clock and randomness are arguments.

import { NonRetriableError, RetryAfterError } from "../bellhop.ts";
import { parseDuration } from "../duration.ts";
import type { Handler } from "../handlers/loader.ts";
import type { Outcome, Ticket } from "../inbox/inbox.ts";

export const DEFAULT_ATTEMPTS = 8;

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

/** Until the database is asked again that could not be had: 5 s, 20 s, and then 80 s each time, ±20 %. */
export function postponeDelay({ attempt, spent }: Pick<Ticket, "attempt" | "spent">, random?: () => number): number {
  return retryDelay(Math.min(attempt - spent, 3), random);
}

/** Milliseconds from `now` until `when`: a wait in milliseconds, a duration, or a moment. Never below zero. */
export function delayUntil(when: number | string | Date, now: number): number {
  const delay = when instanceof Date ? when.getTime() - now : parseDuration(when);
  if (!Number.isFinite(delay)) throw new TypeError("an invalid Date is no time to try again");
  return Math.max(0, delay);
}

/** Whether a run goes again after this error, and when. The last attempt of one that was ever interrupted goes alone. */
export function nextAttempt(
  ticket: Pick<Ticket, "spent" | "interrupted">,
  handler: Pick<Handler, "options">,
  error: unknown,
  now: number,
): { delay: number; alone: boolean } | { reason: string } {
  if (error instanceof NonRetriableError) return { reason: "NonRetriableError" };
  const spent = ticket.spent + 1;
  const attempts = handler.options.attempts ?? DEFAULT_ATTEMPTS;
  // One more than allowed is possible: after a crash in the last one it went alone.
  if (spent >= attempts) return { reason: `gave up after ${spent} ${spent === 1 ? "attempt" : "attempts"}` };
  const alone = ticket.interrupted > 0 && spent + 1 >= attempts;
  return { delay: chosenDelay(error, spent, now), alone };
}

/**
 * What becomes of a run that was `running` when its process died. It goes at once, then after 5 s, then after 20 s each
 * time: most runs beside a crash are innocent, and the later ones of their subjects wait. It is given up on
 * only after an attempt that it made alone: beside others, any of them may have been the cause.
 */
export function afterCrash(ticket: Ticket, handler: Handler | undefined, now: number): Outcome {
  const attempts = handler?.options.attempts ?? DEFAULT_ATTEMPTS;
  const spent = ticket.spent + 1;
  if (ticket.alone && spent >= attempts) {
    const reason = `the process died ${ticket.interrupted + 1} times while it ran, the last time while it ran alone`;
    const error = { name: "Crash", message: reason };
    return { kind: "dead", reason, record: { startedAt: now, took: 0, error } };
  }
  const delay = ticket.interrupted === 0 ? 0 : retryDelay(Math.min(ticket.interrupted, 2));
  // Of a file that does not load nobody knows how many attempts it has: who had to go alone still has to.
  const unknown = handler?.code === undefined && ticket.alone;
  return { kind: "interrupted", delay, alone: unknown || spent + 1 >= attempts };
}

function chosenDelay(error: unknown, spent: number, now: number): number {
  if (!(error instanceof RetryAfterError)) return retryDelay(spent);
  try {
    return delayUntil(error.when, now);
  } catch {
    // A time that nobody can read is no reason to lose the run.
    return retryDelay(spent);
  }
}
