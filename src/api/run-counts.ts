// How many runs are dead, waiting or retrying now, in all and per handler. Reads a bounded number of deliveries, and
// only while a page is open.

import type { Inbox } from "../inbox/inbox.ts";
import { latestRuns } from "./latest-runs.ts";
import type { HandlerRunCounts, RunCountsJson } from "./types.ts";

/** More deliveries than this are not counted: the page shows `1,000+`. */
const MAX_COUNTED = 1_000;
// At most a twentieth of the time is spent counting.
const COUNT_SHARE = 20;
const MIN_INTERVAL_MS = 1_000;

export interface RunCounts {
  readonly total: RunCountsJson;
  handler(name: string): HandlerRunCounts;
}

const NONE: HandlerRunCounts = { dead: 0, waiting: 0, retrying: 0 };

/** Returns the last counts while they are recent. */
export function createRunCounts(inbox: Pick<Inbox, "list">): () => Promise<RunCounts> {
  let counted: Promise<RunCounts> | undefined;
  let validUntil = 0;
  return () => {
    const startedAt = performance.now();
    if (counted && startedAt < validUntil) return counted;
    validUntil = Infinity;
    counted = countNow(inbox).finally(() => {
      const now = performance.now();
      validUntil = now + Math.max(MIN_INTERVAL_MS, COUNT_SHARE * (now - startedAt));
    });
    return counted;
  };
}

async function countNow(inbox: Pick<Inbox, "list">): Promise<RunCounts> {
  const handlers = new Map<string, HandlerRunCounts>();
  const total: RunCountsJson = { ...NONE, more: false, lastDeliveryAt: null };
  for (const state of ["dead", "waiting"] as const) {
    const { deliveries, next } = await inbox.list({ state }, { before: null, limit: MAX_COUNTED });
    total.more ||= next !== null && deliveries.length === MAX_COUNTED;
    for (const run of deliveries.flatMap(({ runs }) => latestRuns(runs))) {
      if (run.state !== state) continue;
      const kind = state === "waiting" && run.attempts > 0 && !run.parked ? "retrying" : state;
      const counts = handlers.get(run.handler) ?? { ...NONE };
      handlers.set(run.handler, counts);
      counts[kind] += 1;
      total[kind] += 1;
    }
  }
  const newest = await inbox.list({}, { before: null, limit: 1 });
  total.lastDeliveryAt = newest.deliveries[0]?.receivedAt ?? null;
  return { total, handler: (name) => handlers.get(name) ?? NONE };
}
