// Deletes expired data, a few deliveries at a time. Ledger rows are deleted first, and never those of a run that the
// inbox could still claim. Failed deletions are retried in a later round.

import type { Effects } from "../db/effects.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { type Rounds, type RoundsOptions, startRounds } from "./rounds.ts";

interface RetentionOptions extends Partial<RoundsOptions> {
  inbox: Pick<Inbox, "retention" | "problems">;
  effects: Pick<Effects, "forget">;
  retentionDays: number;
}

// Short enough for servers that restart often.
const EVERY_MS = 600_000;
// A step takes 1 to 2 ms. Deliveries and runs get 95 % of the time.
const STEP = 10;
const PAUSE_FACTOR = 19;
const MIN_PAUSE_MS = 10;
// A step may have waited for a handler's transaction.
const MAX_PAUSE_MS = 1_000;

/** Deletes now, and then every ten minutes. */
export function startRetention(options: RetentionOptions): Rounds {
  const { inbox, effects, retentionDays } = options;

  async function deleteAll(rounds: Rounds) {
    let start = performance.now();
    for (let step = await next(); step && !rounds.stopped; step = await next()) {
      if (step.ledger.length > 0) await effects.forget(step.ledger);
      await inbox.retention.delete(step);
      await rounds.rest(Math.min(Math.max(MIN_PAUSE_MS, PAUSE_FACTOR * (performance.now() - start)), MAX_PAUSE_MS));
      start = performance.now();
    }
    if (!rounds.stopped) await inbox.problems.forget(retentionDays);
  }

  const next = () => inbox.retention.next(retentionDays, STEP);
  return startRounds(deleteAll, { everyMs: EVERY_MS, ...options });
}
