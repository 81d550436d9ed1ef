// Deletes expired data, a few deliveries at a time. Ledger rows are deleted first, and never those of a run that the
// inbox could still claim. Failed deletions are retried in a later round.

import type { Effects } from "../db/effects.ts";
import { isOutage } from "../db/outage.ts";
import { InboxUnavailable } from "../errors.ts";
import type { Inbox } from "../inbox/inbox.ts";

interface RetentionOptions {
  inbox: Pick<Inbox, "expired" | "deleteExpired" | "forgetProblems">;
  effects: Pick<Effects, "forget">;
  retentionDays: number;
  /** Whether this server deletes. Two servers at once would only repeat each other's work. */
  isOurs?: () => boolean;
  /** Milliseconds between rounds. */
  everyMs?: number;
  onTrouble?: (error: unknown) => void;
}

// Short enough for servers that restart often.
const EVERY_MS = 600_000;
// A step takes 1 to 2 ms. Deliveries and runs get 95 % of the time.
const STEP = 10;
const PAUSE_FACTOR = 19;
const MIN_PAUSE_MS = 10;
// A step may have waited for a handler's transaction.
const MAX_PAUSE_MS = 1_000;

/** Deletes now, and then every ten minutes. `stop` waits for the current step. */
export function startRetention(options: RetentionOptions): { stop(): Promise<void> } {
  const { inbox, effects, retentionDays, isOurs = () => true, everyMs = EVERY_MS, onTrouble } = options;
  const stopping = Promise.withResolvers<void>();
  let stopped = false;
  let round: Promise<void> | undefined;

  async function deleteAll() {
    let start = performance.now();
    for (let step = await next(); step && !stopped; step = await next()) {
      if (step.ledger.length > 0) await effects.forget(step.ledger);
      await inbox.deleteExpired(step);
      await pause(PAUSE_FACTOR * (performance.now() - start));
      start = performance.now();
    }
    if (!stopped) await inbox.forgetProblems(retentionDays);
  }

  async function pause(ms: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.min(Math.max(MIN_PAUSE_MS, ms), MAX_PAUSE_MS));
    await Promise.race([promise, stopping.promise]);
    clearTimeout(timer);
  }

  function next() {
    return inbox.expired(retentionDays, STEP);
  }

  function startRound() {
    if (!isOurs()) return;
    round ??= deleteAll()
      // Outages of the inbox and of the database are reported elsewhere.
      .catch((error) => {
        if (!(error instanceof InboxUnavailable) && !isOutage(error)) onTrouble?.(error);
      })
      .finally(() => (round = undefined));
  }

  startRound();
  const timer = setInterval(startRound, everyMs).unref();
  return {
    async stop() {
      stopped = true;
      stopping.resolve();
      clearInterval(timer);
      await round;
    },
  };
}
