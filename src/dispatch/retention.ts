// Lets go of what is old, a few deliveries at a time. Ledger rows first: a run that the inbox could still hand out must
// find its row. Promises nothing about when: what can't be deleted now is deleted an hour later.

import type { Inbox } from "../inbox/inbox.ts";
import type { Effects } from "./effects.ts";

interface RetentionOptions {
  inbox: Inbox;
  effects: Effects;
  retentionDays: number;
  /** Milliseconds between two looks. */
  everyMs?: number;
  onTrouble?: (error: unknown) => void;
}

const HOUR_MS = 3_600_000;
// A millisecond or two of work, and then everybody else's turn: deliveries and runs have nineteen of twenty parts of the time.
const BATCH = 10;
const OTHERS = 19;
const LEAST_PAUSE_MS = 10;
// A step may have waited for a handler's transaction.
const MOST_PAUSE_MS = 1_000;

/** Looks now, and then every hour. `stop` waits for the step that is under way. */
export function startRetention(options: RetentionOptions): { stop(): Promise<void> } {
  const { inbox, effects, retentionDays, everyMs = HOUR_MS, onTrouble } = options;
  const stopping = Promise.withResolvers<void>();
  let stopped = false;
  let going: Promise<void> | undefined;

  async function letGo() {
    let began = performance.now();
    for (let batch = await next(); batch && !stopped; batch = await next()) {
      if (batch.ledger.length > 0) await effects.forget(batch.ledger);
      await inbox.prune(batch);
      await pause(OTHERS * (performance.now() - began));
      began = performance.now();
    }
  }

  async function pause(ms: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.min(Math.max(LEAST_PAUSE_MS, ms), MOST_PAUSE_MS));
    await Promise.race([promise, stopping.promise]);
    clearTimeout(timer);
  }

  function next() {
    return inbox.prunable(retentionDays, BATCH);
  }

  function look() {
    going ??= letGo()
      .catch((error) => onTrouble?.(error))
      .finally(() => (going = undefined));
  }

  look();
  const timer = setInterval(look, everyMs).unref();
  return {
    async stop() {
      stopped = true;
      stopping.resolve();
      clearInterval(timer);
      await going;
    },
  };
}
