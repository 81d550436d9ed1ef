// Calls `handlers/_dead.ts` for a dead run: after its end is recorded, and at most once.

import type { Code } from "../handlers/loader.ts";
import type { ClaimedRun, Outcome } from "../inbox/inbox.ts";
import type { DeadRun } from "../index.ts";

// Long enough to post a message. A longer limit would delay a shutdown.
const LIMIT_MS = 10_000;

/** Rejects when the function throws or takes too long. */
export async function notifyDead(code: Code, run: ClaimedRun, outcome: Outcome & { kind: "dead" }): Promise<void> {
  const { id, type, subject, receivedAt, sample } = run.delivery;
  const dead: DeadRun = {
    run: { handler: run.handler, attempts: run.spent + 1, reason: outcome.reason, replay: run.replay !== "" },
    delivery: { id, type, subject, receivedAt: new Date(receivedAt), sample },
    error: outcome.record.error ?? { name: "Error", message: outcome.reason },
  };
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("did not finish within 10 s")), LIMIT_MS);
  const release = code.version.hold();
  try {
    const notified = code.version.enter(async () => (code.run as unknown as (dead: DeadRun) => unknown)(dead));
    await Promise.race([notified, late]);
  } finally {
    clearTimeout(timer);
    release();
  }
}
