// Asks Clerk's API one question after the other, at a rate that leaves room for the application, and again when it says
// "later" or nothing at all.

import { UserError } from "../errors.ts";

/** Asks; `requests` is how many the question costs. Rejects with Clerk's own error when asking again would not help. */
export type Ask = <T>(question: () => Promise<T>, requests?: number) => Promise<T>;

// Clerk allows 100 requests in 10 s in development and 1,000 in production (clerk.com/docs/backend-requests/resources/rate-limits).
export const POLITE_RATE = 8;
// When Clerk does not say how long: its window.
const WINDOW_MS = 10_000;
const FIRST_RETRY_MS = 500;
const MOST_RETRIES = 6;
// The client waits for ever.
const LONGEST_ANSWER_MS = 60_000;

interface PoliteOptions {
  /** Requests a second. */
  rate?: number | undefined;
  signal?: AbortSignal;
  sleep?: (milliseconds: number) => Promise<unknown>;
  now?: () => number;
  /** For one answer. */
  timeoutMs?: number;
  /** Clerk has asked to wait. */
  onWait?: (milliseconds: number) => void;
}

export function politely(options: PoliteOptions = {}): Ask {
  const { rate = POLITE_RATE, signal, sleep = Bun.sleep, now = () => performance.now(), onWait } = options;
  const { timeoutMs = LONGEST_ANSWER_MS } = options;
  let next = 0;

  async function turn(requests: number) {
    const wait = next - now();
    if (wait > 0) await sleep(wait);
    next = Math.max(next, now()) + (requests * 1_000) / rate;
  }

  return async (question, requests = 1) => {
    for (let failed = 0; ;) {
      signal?.throwIfAborted();
      await turn(requests);
      try {
        return await within(timeoutMs, question());
      } catch (error) {
        const wait = waitAfter(error, failed);
        if (wait === undefined) throw explain(error);
        // Being sent away is no failure: Clerk has answered.
        if (statusOf(error) !== 429) failed += 1;
        onWait?.(wait);
        next = Math.max(next, now() + wait);
      }
    }
  };
}

/** The HTTP status of an error of Clerk's client; undefined when there was no answer. */
export function statusOf(error: unknown): number | undefined {
  return (error as { status?: number } | null)?.status;
}

/** The instance has no Organizations: they are turned off in the Dashboard. */
export function isWithoutOrganizations(error: unknown): boolean {
  const { errors } = (error ?? {}) as { errors?: { code?: string }[] };
  return errors?.[0]?.code === "organization_not_enabled_in_instance";
}

/** Milliseconds until it is asked again, or undefined when that would not help. */
function waitAfter(error: unknown, failed: number): number | undefined {
  const status = statusOf(error);
  const { retryAfter, name } = error as { retryAfter?: number; name?: string };
  if (status === 429) return retryAfter === undefined ? WINDOW_MS : retryAfter * 1_000;
  const unanswered = status === undefined && (name === "ClerkAPIResponseError" || name === "TimeoutError");
  if (failed >= MOST_RETRIES || !(unanswered || (status !== undefined && status >= 500))) return undefined;
  return FIRST_RETRY_MS * 2 ** failed;
}

function explain(error: unknown): unknown {
  if (isWithoutOrganizations(error)) return error;
  const status = statusOf(error);
  if (status === 401 || status === 403)
    return new UserError(
      `Clerk does not accept CLERK_SECRET_KEY (${status}). Copy it anew: Clerk Dashboard, API keys, of the same instance as the webhooks.`,
    );
  const { name, errors } = error as { name?: string; errors?: { message?: string }[] };
  if ((name !== "ClerkAPIResponseError" && name !== "TimeoutError") || status === 404) return error;
  const says = errors?.[0]?.message ?? (error as Error).message;
  return new UserError(
    status === undefined
      ? `Clerk's API can't be reached: ${says}. What is done is kept; go on by the same command.`
      : `Clerk's API answered ${status}: ${says}. What is done is kept; go on by the same command.`,
  );
}

async function within<T>(milliseconds: number, answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = () => reject(new DOMException(`no answer within ${milliseconds / 1_000} s`, "TimeoutError"));
  const timer = setTimeout(late, milliseconds);
  try {
    return await Promise.race([promise, answer]);
  } finally {
    clearTimeout(timer);
  }
}
