// Decides when a handler is paused by itself: many runs of different subjects have failed with one problem, and none has
// succeeded in between. Counts in memory only: after a restart, each row is empty, and each server counts the runs that it runs.

import { problemOf } from "../failures/problem-key.ts";
import type { ClaimedRun, ErrorRecord, Outcome } from "../inbox/inbox.ts";
import { isGivenUp } from "./retry.ts";

/** `after`: how many runs of different subjects fail alike in a row. */
export function createBreaker(after: number) {
  const rows = new Map<string, { kind: string; subjects: Set<string> }>();
  return {
    /** Takes the outcome of a run. Returns why its handler should be paused, when this failure completes the row. */
    ended({ handler, orderKey }: Pick<ClaimedRun, "handler" | "orderKey">, outcome: Outcome): string | undefined {
      if (outcome.kind === "done") rows.delete(handler);
      const error = failureOf(outcome);
      if (!error) return undefined;
      const { id: kind, name, message } = problemOf(handler, error);
      let row = rows.get(handler);
      if (row?.kind !== kind) rows.set(handler, (row = { kind, subjects: new Set() }));
      row.subjects.add(orderKey);
      if (row.subjects.size < after) return undefined;
      rows.delete(handler);
      // Kept and sent to people, so it has the message without ids, numbers and addresses.
      return `${row.subjects.size} runs of different subjects in a row failed with ${name}: ${message}`;
    },
    /** Begins a new row. */
    forget: (handler: string) => void rows.delete(handler),
  };
}

/**
 * The error of a run that failed, and would be retried. A handler that gives up by `NonRetriableError` or its `data` schema
 * has decided about one event, and a database that can't be reached is waited for without a breaker.
 */
export function failureOf(outcome: Outcome): ErrorRecord | undefined {
  return outcome.kind === "retry" || isGivenUp(outcome) ? outcome.record.error : undefined;
}
