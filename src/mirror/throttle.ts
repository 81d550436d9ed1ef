// Sends requests to Clerk's API one after the other, at a rate that leaves room for the app, and retries them when
// Clerk is over its rate limit, fails or does not answer. Its own code, because `p-throttle` can't pause for Retry-After,
// rejects a call that costs more than its limit (`--rate 0.5`), and follows the wall clock.

import { withDeadline } from "../deadline.ts";
import { formatDuration } from "../duration.ts";
import { messageOf, UserError } from "../errors.ts";

/** Sends a call that costs `requests` requests. Rejects with Clerk's own error when a retry would not help. */
export type Ask = <T>(call: () => Promise<T>, requests?: number) => Promise<T>;

// Clerk allows 100 requests in 10 s in development and 1,000 in production
// (clerk.com/docs/backend-requests/resources/rate-limits).
export const DEFAULT_RATE = 8;
// Clerk's rate limit window, for an answer without Retry-After.
const WINDOW_MS = 10_000;
const FIRST_RETRY_MS = 500;
const MAX_RETRIES = 6;
// Clerk's client has no timeout.
const ANSWER_TIMEOUT_MS = 60_000;

interface ThrottleOptions {
  /** Requests per second. */
  rate?: number | undefined;
  signal?: AbortSignal;
  sleep?: (milliseconds: number) => Promise<unknown>;
  now?: () => number;
  /** The timeout of one call. */
  timeoutMs?: number;
  /**
   * Called before a retry, with its delay. `status` is 429 when the rate limit is reached; undefined without an answer.
   */
  onWait?: (milliseconds: number, status: number | undefined) => void;
}

export function createThrottle(options: ThrottleOptions = {}): Ask {
  const { rate = DEFAULT_RATE, signal, sleep = Bun.sleep, now = () => performance.now(), onWait } = options;
  const { timeoutMs = ANSWER_TIMEOUT_MS } = options;
  const noAnswer = () => new DOMException(`no answer within ${formatDuration(timeoutMs)}`, "TimeoutError");
  let next = 0;

  async function waitForTurn(requests: number) {
    const wait = next - now();
    if (wait > 0) await sleep(wait);
    next = Math.max(next, now()) + (requests * 1_000) / rate;
  }

  return async (call, requests = 1) => {
    for (let failed = 0; ;) {
      signal?.throwIfAborted();
      await waitForTurn(requests);
      try {
        return await withDeadline(call(), timeoutMs, noAnswer);
      } catch (error) {
        const wait = waitAfter(error, failed);
        if (wait === undefined) throw toUserError(error);
        // A 429 is not a failure: Clerk works, so it is retried without a limit.
        if (statusOf(error) !== 429) failed += 1;
        onWait?.(wait, statusOf(error));
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

/** Milliseconds until the retry, or undefined when a retry would not help. */
function waitAfter(error: unknown, failed: number): number | undefined {
  const status = statusOf(error);
  const { retryAfter, name } = error as { retryAfter?: number; name?: string };
  if (status === 429) return retryAfter === undefined ? WINDOW_MS : retryAfter * 1_000;
  const unanswered = status === undefined && (name === "ClerkAPIResponseError" || name === "TimeoutError");
  if (failed >= MAX_RETRIES || !(unanswered || (status !== undefined && status >= 500))) return undefined;
  return FIRST_RETRY_MS * 2 ** failed;
}

function toUserError(error: unknown): unknown {
  if (isWithoutOrganizations(error)) return error;
  const status = statusOf(error);
  const { name, errors } = error as { name?: string; errors?: { message?: string }[] };
  const message = errors?.[0]?.message ?? messageOf(error);
  if (status === 401 || status === 403)
    return new UserError(
      `Clerk does not accept CLERK_SECRET_KEY (${status}: ${message}). Copy it again: Clerk Dashboard, API keys, of the same instance as the webhooks.`,
    );
  if ((name !== "ClerkAPIResponseError" && name !== "TimeoutError") || status === 404) return error;
  return new UserError(
    status === undefined
      ? `Clerk's API can't be reached: ${message}. Progress is kept; run the same command to continue.`
      : `Clerk's API answered ${status}: ${message}. Progress is kept; run the same command to continue.`,
  );
}
