// A delivery's runs as a test looks at them. Pure.

import type { AttemptRecord, DeliveryView, RunState, RunView } from "../inbox/inbox.ts";

export interface TestRun {
  state: RunState;
  /** How often it was tried. */
  attempts: number;
  /** What the last attempt threw. */
  error?: NonNullable<AttemptRecord["error"]>;
  /** Why it is dead or skipped. */
  reason?: string;
  /** What `log` and `console` were told, in all attempts. */
  log: string[];
  /** Milliseconds until the next attempt; 0 when it waits for an earlier run of its subject. */
  next?: number;
  /** Milliseconds that the last attempt took. */
  took: number;
}

/** By the handler's name. */
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
