// Ended attempts, as the dispatcher reports them.

import type { AttemptRecord, ClaimedRun, Outcome } from "../../src/inbox/inbox.ts";
import { claimedRun } from "../dispatch/attempting.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
/** A Monday. */
export const START = Date.UTC(2026, 5, 1);

export function run(overrides: Partial<ClaimedRun> = {}): ClaimedRun {
  const { delivery } = claimedRun();
  return claimedRun({ delivery: { ...delivery, receivedAt: START, receipts: 1, at: START }, body: null, ...overrides });
}

export const record = (more: Partial<AttemptRecord> = {}): AttemptRecord => ({
  startedAt: START + 5,
  took: 10,
  ...more,
});
export const done = (more: Partial<AttemptRecord> = {}): Outcome => ({ kind: "done", record: record(more) });
export const retry = (message = "no", more: Partial<AttemptRecord> = {}): Outcome => ({
  kind: "retry",
  record: record({ error: { name: "Error", message }, ...more }),
  delay: 5_000,
  exclusive: false,
});
export const dead: Outcome = { kind: "dead", record: record(), reason: "failed 8 of 8 attempts" };
