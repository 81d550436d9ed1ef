// Runs a handler's current code on a stored delivery, in a transaction that is rolled back: for `bun try` and the
// inspector. Effects outside the transaction are real.

import type { ClerkClient } from "@clerk/backend";

import type { Effects } from "../db/effects.ts";
import type { RanQuery } from "../db/template.ts";
import { messageOf } from "../errors.ts";
import type { Code, Handler } from "../handlers/loader.ts";
import type { ClaimedRun, Outcome } from "../inbox/inbox.ts";
import { runAttempt } from "./attempt.ts";
import { createTimeouts } from "./timeout.ts";
import { UNWATCHED, type Watchdog } from "./watchdog.ts";

interface DryRunOptions {
  handler: Handler & { code: Code };
  delivery: Omit<ClaimedRun["delivery"], "arrival" | "sensitive">;
  body: Uint8Array;
  effects: Effects;
  clerk: ClerkClient | undefined;
  /** Default: none. */
  watchdog?: Watchdog;
  /** An error that the handler's code threw after the attempt had ended. */
  onLate: (message: string) => void;
}

export async function dryRun(options: DryRunOptions) {
  const { handler, delivery, body, effects, clerk, watchdog = UNWATCHED, onLate } = options;
  const queries: RanQuery[] = [];
  const shutdown = new AbortController().signal;
  const outcome: Outcome | undefined = await runAttempt({
    run: runOf(delivery, body, handler.name),
    // Two attempts, so that an ordinary failure shows as failed and not as dead.
    handler: { ...handler, options: { ...handler.options, attempts: 2 } },
    code: handler.code,
    clerk,
    effects: rolledBack(effects, (query) => queries.push(query)),
    timeouts: createTimeouts(shutdown),
    watchdog,
    shutdown,
    now: Date.now,
    print: () => undefined,
    onLate,
  });
  return { outcome, queries };
}

/** A dry run as plain data; undefined when no version of the handler has loaded. */
export async function tryHandler({ handler, ...options }: Omit<DryRunOptions, "handler"> & { handler: Handler }) {
  const { code } = handler;
  if (!code) return undefined;
  const { outcome, queries } = await dryRun({ ...options, handler: { ...handler, code } });
  const record = outcome && "record" in outcome ? outcome.record : undefined;
  const kind = outcome?.kind;
  return {
    handler: handler.name,
    outcome: kind === "done" || kind === "dead" || kind === "skipped" ? kind : ("failed" as const),
    took: record?.took ?? 0,
    log: record?.log ?? [],
    sql: queries.map(({ text, rows, error }) => ({
      text,
      rows: rows ?? null,
      error: error === undefined ? null : messageOf(error),
    })),
    error: record?.error ?? null,
  };
}

/** The same effects, with a rollback in place of each commit. */
function rolledBack(effects: Effects, onQuery: (query: RanQuery) => void): Effects {
  return {
    ...effects,
    transaction(options) {
      const transaction = effects.transaction({ ...options, onQuery });
      return Object.create(transaction, { commit: { value: () => transaction.rollback() } }) as typeof transaction;
    },
  };
}

/** A run as if the inbox had claimed it. Its replay id gives it an `idempotencyKey` of its own. */
function runOf(delivery: DryRunOptions["delivery"], body: Uint8Array, handler: string): ClaimedRun {
  const { id, type, subject, receivedAt, receipts, sample, at } = delivery;
  return {
    run: 0,
    attempt: 1,
    handler,
    orderKey: "",
    owner: "try",
    spent: 0,
    interrupted: 0,
    exclusive: false,
    replay: `try-${crypto.randomUUID()}`,
    stale: false,
    delivery: { id, arrival: 0, type, subject, receivedAt, receipts, sample, at, sensitive: false },
    body,
  };
}
