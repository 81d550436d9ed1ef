// How many runs are not done now, in all and per handler. Reads a bounded number of deliveries, and only while a page is
// open.

import type { Inbox } from "../inbox/inbox.ts";
import { latestRuns } from "./latest-runs.ts";
import type { HandlerRunCounts, HealthJson } from "./types.ts";

/** Counting stops at this many deliveries. */
const MAX_COUNTED = 1_000;
// At most a twentieth of the time is spent counting.
const COUNT_SHARE = 20;
const MIN_INTERVAL_MS = 1_000;

export interface RunCounts extends Pick<HealthJson, "runs" | "lastDelivery"> {
  handler(name: string): HandlerRunCounts;
}

const NONE = { waiting: 0, retrying: 0, running: 0, parked: 0, dead: 0 };

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
  const handlers = new Map<string, typeof NONE>();
  const runs = { ...NONE };
  for (const state of ["dead", "waiting", "running"] as const) {
    const { deliveries } = await inbox.list({ state }, { before: null, limit: MAX_COUNTED });
    for (const run of deliveries.flatMap((delivery) => latestRuns(delivery.runs))) {
      if (run.state !== state) continue;
      const kind = run.parked ? "parked" : state === "waiting" && run.attempts > 0 ? "retrying" : state;
      const counts = handlers.get(run.handler) ?? { ...NONE };
      handlers.set(run.handler, counts);
      counts[kind] += 1;
      runs[kind] += 1;
    }
  }
  const newest = await inbox.list({}, { before: null, limit: 1 });
  return {
    runs,
    lastDelivery: newest.deliveries[0]?.receivedAt ?? null,
    handler(name) {
      const { dead, retrying, waiting, parked } = handlers.get(name) ?? NONE;
      return { dead, retrying, waiting: waiting + parked };
    },
  };
}
