// The transaction of one attempt: unused → beginning → open → committing → ended. It begins at the first use of `db`.
// The ledger row is taken in its first statement and becomes `committed` in its last one. Only Bellhop commits it, and
// after its end a handler that is still running can't write.

import { AsyncLocalStorage } from "node:async_hooks";

import type { SQL, TransactionSQL } from "bun";

import { settledWithin } from "../deadline.ts";
import { GroupLost } from "./group.ts";
import type { AttemptKey, Claim } from "./ledger.ts";
import { isOutage, type Outages } from "./outage.ts";
import { adapterOf, createScope, type RanQuery, type Scope, type TraceQuery, TRANSACTION_ENDED } from "./template.ts";

/** The part of SQLite or Postgres that a transaction needs. */
export interface AppDatabase {
  /** For fragments, helpers and reads. */
  readonly sql: SQL;
  /**
   * Begins when it is this transaction's turn. Commits when `body` resolves, rolls back when it rejects. On SQLite, runs of
   * handlers that are quick may share a commit, each in a savepoint; without `handler`, nothing is shared. `onWritten` is
   * called when a run that may share waits only for that commit.
   */
  begin(
    body: (tx: TransactionSQL) => Promise<void>,
    givenUp: AbortSignal,
    handler?: string,
    onWritten?: () => void,
  ): Promise<void>;
  /** The first statement of an attempt: takes its ledger row. */
  claim(tx: TransactionSQL, key: AttemptKey, timeoutMs: number): Promise<Claim>;
  /** The last statement of an attempt. False, and nothing is written, when `tx` is not the transaction that claimed the row. */
  markCommitted(tx: TransactionSQL, key: AttemptKey): Promise<boolean>;
  /**
   * Decides an attempt whose end is unknown: its run is committed, or the attempt is `void` and can never commit. `ends`:
   * its transaction is ended if it is open, as on a machine that is gone. Otherwise rejects when that holds the row for long.
   */
  resolve(key: AttemptKey, ends: boolean): Promise<"committed" | "void">;
  /** Runs a text of several statements. Rejects when it ends the transaction, if possible before anything is written. */
  script(tx: TransactionSQL, text: string): Promise<void>;
  /** Runs one statement that can't run in a transaction, on another connection, while `tx` holds the lock. */
  outside(tx: TransactionSQL, text: string): Promise<void>;
  /** Makes servers that start together create tables one after the other. */
  lock(tx: TransactionSQL): Promise<void>;
  /** Closes the connection of a transaction that does not end by itself. */
  cut(tx: TransactionSQL): void;
  /** Writes like a run, and undoes it. Does not queue behind runs where they might never end. */
  ping(): Promise<void>;
  /** Removes deleted bytes from SQLite's log. False when the file was in use all the time. */
  scrub(): Promise<boolean>;
  /** A statement may wait forever, as on a connection to a machine that is gone. */
  readonly canHang: boolean;
  /** Number of transactions that wait for their turn. */
  readonly waiting: number;
  close(): Promise<void>;
}

type Database = Pick<AppDatabase, "sql" | "begin" | "claim" | "markCommitted" | "cut" | "canHang"> & {
  outages: Pick<Outages, "suspect" | "answers">;
  /** Retries until the database answers; rejects with `UnknownEnd` when `signal` aborts. */
  resolve(key: AttemptKey, signal: AbortSignal): Promise<"committed" | "void">;
};

export interface TransactionOptions {
  key: AttemptKey;
  /** The attempt's timeout. Postgres ends a stuck transaction by itself a little later. */
  timeoutMs: number;
  /** Called when the attempt starts to wait for the database, which must not count as the handler's time. Returns a function that ends the wait. */
  onWait?: () => () => void;
  /** Called once when the transaction has been open for `time` milliseconds. */
  onLong?: (milliseconds: number) => void;
  /** Called when nothing is left but a commit that other runs may share. */
  onWritten?: () => void;
  onQuery?: (query: RanQuery) => void;
  /** Called before each query, and before the COMMIT, with a text without values. Returns a function to call after it. */
  traceQuery?: TraceQuery;
}

/**
 * Why an attempt ended without fault of the handler. `unreachable`: the database could not be reached before the first
 * statement. `lost`: it was lost later, and nothing is written. `committed`: an earlier attempt committed, so the run is
 * done. `void`: the attempt was declared void before it began. `unknown`: the server stopped before the database confirmed
 * the commit.
 */
export type Hindrance = "unreachable" | "lost" | "committed" | "void" | "unknown";

export interface RunTransaction {
  readonly db: TransactionSQL;
  readonly hindrance: Hindrance | undefined;
  /** Whether it has begun. Once it is committed, the ledger has a row for it. */
  readonly used: boolean;
  /** Waits for running queries. Rejects when a query failed or was never awaited: then nothing may be committed. */
  finish(): Promise<void>;
  /**
   * Commits, if a transaction has begun. Rejects when nothing was committed. When the outcome of the COMMIT is unknown,
   * looks up the ledger until it answers; `signal` ends that with `UnknownEnd`.
   */
  commit(signal: AbortSignal): Promise<void>;
  /** Rolls back. Afterwards nothing can be committed. Never rejects. */
  rollback(): Promise<void>;
}

/** It is unknown whether a commit succeeded. The run stays `running`, and the next start looks up the ledger. */
export class UnknownEnd extends Error {
  override name = "UnknownEnd";
}

// Longer than most handlers, and short enough to be logged while the transaction is still open.
const LONG_MS = 5_000;
// When Postgres does not answer a ROLLBACK within this time, the connection is closed.
const ROLLBACK_MS = 1_000;
// A COMMIT without an answer for longer is assumed to be lost, and the ledger is looked up.
const COMMIT_MS = 10_000;

const REFUSED = {
  committed: "an earlier attempt of this run has been committed",
  void: "this attempt was declared void before its first query: another process has taken over its run",
};

// A handler's first query begins the transaction, which must not run in the handler's async context.
const asHost = AsyncLocalStorage.snapshot();

export function createTransaction(app: Database, options: TransactionOptions): RunTransaction {
  const { key, timeoutMs, onWait = () => () => {}, onLong, onWritten, onQuery, traceQuery } = options;
  let phase: "unused" | "beginning" | "open" | "committing" | "ended" = "unused";
  let hindrance: Hindrance | undefined;
  let begun: Promise<TransactionSQL> | undefined;
  /** Settles when nothing can be committed anymore. */
  let ending: Promise<void> = Promise.resolve();
  let tx: TransactionSQL | undefined;
  /** Resolved to commit, rejected to roll back. */
  const decision = Promise.withResolvers<void>();
  decision.promise.catch(() => undefined);
  const givenUp = new AbortController();
  let scope: Scope | undefined;

  function throwIfOver() {
    if (phase === "committing" || phase === "ended")
      throw new Error("db was used after its run had ended: await every query before the handler returns");
  }

  async function client(): Promise<TransactionSQL> {
    throwIfOver();
    return (begun ??= asHost(begin));
  }

  function begin(): Promise<TransactionSQL> {
    phase = "beginning";
    const ready = Promise.withResolvers<TransactionSQL>();
    // The handler's query must not wait for a database that does not answer.
    givenUp.signal.addEventListener("abort", () => ready.reject(givenUp.signal.reason));
    const endWait = onWait();
    let longTimer: Timer | undefined = app.canHang ? setTimeout(() => app.outages.suspect(), LONG_MS) : undefined;
    const body = async (own: TransactionSQL) => {
      tx = own;
      throwIfEnded();
      const claimed = await app.claim(own, key, timeoutMs);
      if (claimed !== "open") {
        hindrance = claimed;
        throw new Error(REFUSED[claimed]);
      }
      throwIfEnded();
      phase = "open";
      endWait();
      clearTimeout(longTimer);
      longTimer = setTimeout(() => {
        onLong?.(LONG_MS);
        if (app.canHang && scope?.active) app.outages.suspect();
      }, LONG_MS);
      ready.resolve(own);
      await decision.promise;
      if (!(await app.markCommitted(own, key))) throw new Error(TRANSACTION_ENDED);
    };
    ending = app.begin(body, givenUp.signal, key.handler, onWritten).finally(() => {
      clearTimeout(longTimer);
      endWait();
    });
    ending.catch((error: unknown) => {
      if (phase === "beginning") hindrance ??= "unreachable";
      ready.reject(error);
    });
    return ready.promise;
  }

  function noteError(error: unknown) {
    if (!isOutage(error)) return;
    app.outages.suspect();
    // Earlier, the database was unreachable; later, the connection was closed on purpose.
    if (phase === "open") hindrance ??= "lost";
  }

  function throwIfEnded() {
    if (phase === "ended") throw new Error("the run has ended");
  }

  return {
    get db() {
      return (scope ??= createScope({
        root: app.sql,
        client,
        throwIfOver,
        onQuery,
        traceQuery,
        onError: noteError,
      })).db;
    },
    get hindrance() {
      return hindrance;
    },
    get used() {
      return begun !== undefined;
    },

    async finish() {
      await scope?.finish();
    },

    async commit(signal) {
      throwIfEnded();
      if (!begun) {
        phase = "ended";
        return;
      }
      await begun;
      phase = "committing";
      const limit = app.canHang ? setTimeout(() => app.cut(tx!), COMMIT_MS) : undefined;
      const traced = traceQuery?.("COMMIT", adapterOf(app.sql));
      decision.resolve();
      try {
        await ending;
        traced?.();
      } catch (error) {
        traced?.(error);
        hindrance = "unknown";
        const state = await app.resolve(key, signal);
        hindrance = state === "void" && (isOutage(error) || error instanceof GroupLost) ? "lost" : undefined;
        if (state === "void") throw error;
      } finally {
        clearTimeout(limit);
        phase = "ended";
      }
    },

    async rollback() {
      if (phase === "ended") return;
      const isRunning = (scope?.active ?? 0) > 0;
      const stuck = isRunning || phase === "beginning";
      const wasOpen = phase === "open";
      phase = "ended";
      decision.reject(new Error("the run has ended"));
      givenUp.abort(new Error("the run has ended"));
      // A transaction that still waits for its turn checks `phase` when it gets it.
      if (!tx) return;
      await settledWithin(ending, stuck ? 0 : ROLLBACK_MS);
      app.cut(tx);
      await ending.catch(() => undefined);
      // A frozen database has used up the handler's time.
      if (wasOpen && isRunning && app.canHang && !(await app.outages.answers())) hindrance ??= "lost";
    },
  };
}
