// Calls `handlers/_dead.ts` for a dead run, after its end is recorded, until it succeeds once: four times at most, and not
// after the server has stopped.

import { withDeadline } from "../deadline.ts";
import type { Code } from "../handlers/loader.ts";
import type { ClaimedRun, Outcome } from "../inbox/inbox.ts";
import type { DeadRun } from "../index.ts";

// Long enough to post a message. A longer limit would delay a shutdown.
const LIMIT_MS = 10_000;
/** The delays before the further calls, as those of a run. */
const RETRY_DELAYS_MS = [5_000, 20_000, 80_000];

/**
 * Resolves after the first call; the others follow in the background, each with the code that is loaded then. `onError` gets
 * the delay until the next call, and undefined when none follows.
 */
export async function notifyDead(
  code: () => Code | undefined,
  run: ClaimedRun,
  outcome: Outcome & { kind: "dead" },
  stopped: AbortSignal,
  onError: (error: unknown, retryMs: number | undefined) => void = () => {},
  [retryMs, ...later]: readonly number[] = RETRY_DELAYS_MS,
): Promise<void> {
  const current = code();
  if (!current) return;
  try {
    await call(current, run, outcome);
  } catch (error) {
    const willRetry = retryMs !== undefined && !stopped.aborted;
    onError(error, willRetry ? retryMs : undefined);
    if (!willRetry) return;
    const timer = setTimeout(() => {
      if (!stopped.aborted) void notifyDead(code, run, outcome, stopped, onError, later);
    }, retryMs);
    timer.unref();
  }
}

/** Rejects when the function throws or takes too long. */
async function call({ run: notify, version }: Code, run: ClaimedRun, outcome: Outcome & { kind: "dead" }) {
  const { id, type, subject, receivedAt, sample } = run.delivery;
  const { frame: _, ...error } = outcome.record.error ?? { name: "Error", message: outcome.reason };
  const dead: DeadRun = {
    run: { handler: run.handler, attempts: run.spent + 1, reason: outcome.reason, replay: run.replay !== "" },
    delivery: { id, type, subject, receivedAt: new Date(receivedAt), sample },
    error,
  };
  const release = version.hold();
  try {
    const notified = version.enter(async () => (notify as unknown as (dead: DeadRun) => unknown)(dead));
    await withDeadline(notified, LIMIT_MS, () => new Error("did not finish within 10 s"));
  } finally {
    release();
  }
}
