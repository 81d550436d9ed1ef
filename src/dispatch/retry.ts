// Whether and when a run is retried, after a failure and after a crash. Pure: clock and randomness are arguments.

import type { Hindrance } from "../db/transaction.ts";
import { parseDuration } from "../duration.ts";
import type { Handler } from "../handlers/loader.ts";
import type { ClaimedRun, Outcome } from "../inbox/inbox.ts";
import { NonRetriableError, RetryAfterError } from "../index.ts";

export const DEFAULT_ATTEMPTS = 8;

const GAVE_UP = "gave up after";

const FIRST_MS = 5_000;
const FACTOR = 4;
const LONGEST_MS = 12 * 3_600_000;
// A handler may choose any delay. The inbox stores times as whole numbers below 2^53.
const LONGEST_CHOSEN_MS = 100 * 365 * 86_400_000;
// Spreads the retries of runs that failed together.
const JITTER = 0.2;
// Connections lost in the middle of a transaction that are not counted as attempts.
const MAX_LOST_CONNECTIONS = 20;

/**
 * Milliseconds until the next attempt after `failed` attempts: 5 s, 20 s, 80 s … at most 12 h, ±20 %.
 * `random` returns a number from 0 to 1.
 */
export function retryDelay(failed: number, random: () => number = Math.random): number {
  const plain = Math.min(FIRST_MS * FACTOR ** (failed - 1), LONGEST_MS);
  return Math.round(plain * (1 + JITTER * (2 * random() - 1)));
}

/** Milliseconds until an unavailable database is tried again: 5 s, 20 s, then 80 s each time, ±20 %. */
export function postponeDelay({ attempt, spent }: Pick<ClaimedRun, "attempt" | "spent">): number {
  return retryDelay(Math.min(attempt - spent, 3));
}

/** Whether an attempt that wrote nothing is not counted, because the handler was not at fault. */
export function isInnocent(
  { attempt, spent }: Pick<ClaimedRun, "attempt" | "spent">,
  hindrance: Hindrance | undefined,
): boolean {
  // The query itself may end its connection each time.
  if (hindrance === "lost") return attempt - spent <= MAX_LOST_CONNECTIONS;
  return hindrance === "unreachable" || hindrance === "void";
}

/** Whether a run is dead because it has failed all of its attempts. */
export function isGivenUp(outcome: Outcome): outcome is Outcome & { kind: "dead" } {
  return outcome.kind === "dead" && outcome.reason.startsWith(GAVE_UP);
}

/** Whole milliseconds from `now` until `when`: a wait in milliseconds, a duration, or a moment. Never below zero. */
export function delayUntil(when: number | string | Date, now: number): number {
  const delay = when instanceof Date ? when.getTime() - now : parseDuration(when);
  if (!Number.isFinite(delay)) throw new TypeError("the retry time is an invalid Date");
  return Math.min(Math.max(0, Math.ceil(delay)), LONGEST_CHOSEN_MS);
}

/** Whether a run is retried after this error, and when. The last attempt of an interrupted run is exclusive. */
export function nextAttempt(
  run: Pick<ClaimedRun, "spent" | "interrupted">,
  handler: Pick<Handler, "options">,
  error: unknown,
  now: number,
): { delay: number; exclusive: boolean } | { reason: string } {
  if (error instanceof NonRetriableError) return { reason: "NonRetriableError" };
  const spent = run.spent + 1;
  const attempts = handler.options.attempts ?? DEFAULT_ATTEMPTS;
  // May exceed the option by one: after a crash in the last attempt, one exclusive attempt follows.
  if (spent >= attempts) return { reason: `${GAVE_UP} ${spent} ${spent === 1 ? "attempt" : "attempts"}` };
  const exclusive = run.interrupted > 0 && spent + 1 >= attempts;
  return { delay: chosenDelay(error, spent, now), exclusive };
}

/**
 * The outcome of a run whose process died while it ran. It is retried at once, then after 5 s, then every 20 s: most runs
 * of a crashed process are innocent, and block later events of their subjects. It becomes dead only when the process died
 * during an exclusive attempt, because otherwise another run may have been the cause.
 */
export function afterCrash(run: ClaimedRun, handler: Handler | undefined, now: number): Outcome {
  const attempts = handler?.options.attempts ?? DEFAULT_ATTEMPTS;
  const spent = run.spent + 1;
  if (run.exclusive && spent >= attempts) {
    const reason = `the process died ${run.interrupted + 1} times while it ran, the last time while nothing else ran`;
    const error = { name: "Crash", message: reason };
    return { kind: "dead", reason, record: { startedAt: now, took: 0, error } };
  }
  const delay = run.interrupted === 0 ? 0 : retryDelay(Math.min(run.interrupted, 2));
  // A file that does not load has no known `attempts`: an exclusive run stays exclusive.
  const unknown = handler?.code === undefined && run.exclusive;
  return { kind: "interrupted", delay, exclusive: unknown || spent + 1 >= attempts };
}

function chosenDelay(error: unknown, spent: number, now: number): number {
  if (!(error instanceof RetryAfterError)) return retryDelay(spent);
  try {
    return delayUntil(error.when, now);
  } catch {
    // An invalid time must not lose the run.
    return retryDelay(spent);
  }
}
