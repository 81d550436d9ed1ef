// Turns a delivery's runs into the form that tests assert on. Pure.

import type { AttemptRecord, RunState } from "../inbox/inbox.ts";
import type { DeliveryView, RunView } from "../inbox/views.ts";

export interface TestRun {
  state: RunState;
  /** The number of attempts so far. */
  attempts: number;
  /** The error of the last attempt. */
  error?: NonNullable<AttemptRecord["error"]>;
  /** Why the run is dead or skipped. */
  reason?: string;
  /** The messages that the handler wrote to `log` and `console`, in all attempts. */
  log: string[];
  /** Milliseconds until the next attempt; 0 while an earlier run of the same subject has to finish first. */
  next?: number;
  /** The duration of the last attempt in milliseconds. */
  took: number;
}

/** Runs by handler name. */
export type TestRuns = Record<string, TestRun>;

export function readRuns({ runs }: DeliveryView): TestRuns {
  return Object.fromEntries(runs.map((run) => [run.handler, readRun(run)]));
}

function readRun({ state, attempts, due, reason }: RunView): TestRun {
  const { error, took = 0 }: Partial<AttemptRecord> = attempts.at(-1) ?? {};
  return {
    state,
    attempts: attempts.length,
    ...(error && { error }),
    ...(reason !== null && { reason }),
    log: attempts.flatMap(({ log = [] }) => log.map(({ message }) => message)),
    ...(due !== null && { next: due }),
    took,
  };
}
