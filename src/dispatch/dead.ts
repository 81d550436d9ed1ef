// Tells `handlers/_dead.ts` of a run that died: after its end is recorded, and at most once.

import type { DeadRun } from "../bellhop.ts";
import type { Code } from "../handlers/loader.ts";
import type { Outcome, Ticket } from "../inbox/inbox.ts";

// Three lines to a chat. Longer than this, and it would hold up a shutdown.
const LIMIT_MS = 10_000;

/** Calls it and waits for it. Rejects with what it throws, or when it takes too long. */
export async function tellDead(code: Code, ticket: Ticket, outcome: Outcome & { kind: "dead" }): Promise<void> {
  const { id, type, subject, receivedAt, sample } = ticket.delivery;
  const dead: DeadRun = {
    run: {
      handler: ticket.handler,
      attempts: ticket.spent + 1,
      reason: outcome.reason,
      replay: ticket.replay !== "",
    },
    delivery: { id, type, subject, receivedAt: new Date(receivedAt), sample },
    error: outcome.record.error ?? { name: "Error", message: outcome.reason },
  };
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("did not end within 10 s")), LIMIT_MS);
  const letGo = code.version.hold();
  try {
    await Promise.race([
      code.version.enter(async () => (code.run as unknown as (dead: DeadRun) => unknown)(dead)),
      late,
    ]);
  } finally {
    clearTimeout(timer);
    letGo();
  }
}
