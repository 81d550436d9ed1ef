// The transaction of one attempt: unused → beginning → open → committing → ended. It begins at the first use of `db`,
// its first statement is the ledger's row, and only the server commits it. Once it is ended, a handler that goes on
// can write nothing any more.

import { AsyncLocalStorage } from "node:async_hooks";

import type { TransactionSQL } from "bun";

import { createScope, type RanQuery, type Scope } from "./db.ts";
import type { AppDatabase } from "./effects.ts";

/** The database as one attempt uses it; `resolve` asks until there is an answer, or rejects with `UnknownEnd`. */
type Database = Pick<AppDatabase, "sql" | "begin" | "claim" | "cut"> & {
  resolve(key: LedgerKey, attempt: number, signal: AbortSignal): Promise<"committed" | "void">;
};

/** Which run a ledger row stands for: it is unique. */
export interface LedgerKey {
  delivery: string;
  handler: string;
  /** A random id when somebody asked for the run, else "". */
  replay: string;
}

export interface TransactionOptions {
  key: LedgerKey;
  /** Its number fences: an attempt whose end was decided without it can't commit. */
  attempt: number;
  /** Of the attempt, in milliseconds: a database that can end a stuck transaction by itself does so a little later. */
  timeoutMs: number;
  /** Called when it waits for its turn at the database, which is not the handler's fault; what it returns ends the wait. */
  onWait?: () => () => void;
  /** It has been open for long: other handlers may wait for it. */
  onLong?: (milliseconds: number) => void;
  onQuery?: (query: RanQuery) => void;
}

/**
 * What says nothing about the handler. `unreachable`: the database could not be had before its first statement.
 * `committed`: an earlier attempt was, so this one has nothing to do. `unknown`: the server stopped before the database
 * said whether it had committed.
 */
export type Hindrance = "unreachable" | "committed" | "unknown";

export interface RunTransaction {
  readonly db: TransactionSQL;
  readonly hindrance: Hindrance | undefined;
  /** Waits for queries that are under way. Rejects when one failed, or never ran: then nothing may be committed. */
  finish(): Promise<void>;
  /**
   * Commits, if anything was begun. Rejects when nothing was committed. When nobody saw how it ended, the ledger is
   * asked until it answers; `signal` ends the asking, with `UnknownEnd`.
   */
  commit(signal: AbortSignal): Promise<void>;
  /** Takes back what was written. After it nothing can be committed any more. Never rejects. */
  rollback(): Promise<void>;
}

/** Nobody knows yet whether a commit went through: its run stays as it is, and the ledger is asked at the next start. */
export class UnknownEnd extends Error {
  override name = "UnknownEnd";
}

// Long enough for most work, and short enough to be told while it happens.
const LONG_MS = 5_000;
// A server that does not answer a ROLLBACK is not waited for: its connection is closed.
const ROLLBACK_MS = 1_000;

const asHost = AsyncLocalStorage.snapshot();

export function createTransaction(app: Database, options: TransactionOptions): RunTransaction {
  const { key, attempt, timeoutMs, onWait = () => () => {}, onLong, onQuery } = options;
  let phase: "unused" | "beginning" | "open" | "committing" | "ended" = "unused";
  let hindrance: Hindrance | undefined;
  let begun: Promise<TransactionSQL> | undefined;
  /** Settles when nothing can be committed any more. */
  let ending: Promise<void> = Promise.resolve();
  let tx: TransactionSQL | undefined;
  const fate = Promise.withResolvers<void>();
  fate.promise.catch(() => undefined);
  const givenUp = new AbortController();
  /** Most handlers never look at it. */
  let scope: Scope | undefined;

  async function client(): Promise<TransactionSQL> {
    if (phase === "committing" || phase === "ended")
      throw new Error("db was used after its run had ended: await every query before the handler returns");
    return (begun ??= asHost(begin));
  }

  function begin(): Promise<TransactionSQL> {
    phase = "beginning";
    const ready = Promise.withResolvers<TransactionSQL>();
    const waited = onWait();
    let long: Timer | undefined;
    const body = async (own: TransactionSQL) => {
      tx = own;
      throwIfEnded();
      if (!(await app.claim(own, key, attempt, timeoutMs))) {
        hindrance = "committed";
        throw new Error("an earlier attempt of this run has been committed");
      }
      throwIfEnded();
      phase = "open";
      waited();
      long = setTimeout(() => onLong?.(LONG_MS), LONG_MS);
      ready.resolve(own);
      await fate.promise;
    };
    ending = app.begin(body, givenUp.signal).finally(() => {
      clearTimeout(long);
      waited();
    });
    ending.catch((error: unknown) => {
      if (phase === "beginning") hindrance ??= "unreachable";
      ready.reject(error);
    });
    return ready.promise;
  }

  function throwIfEnded() {
    if (phase === "ended") throw new Error("the run has ended");
  }

  return {
    get db() {
      return (scope ??= createScope({ root: app.sql, client, onQuery })).db;
    },
    get hindrance() {
      return hindrance;
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
      fate.resolve();
      try {
        await ending;
      } catch (error) {
        // Until there is an answer, the run's state is that nobody knows.
        hindrance = "unknown";
        const state = await app.resolve(key, attempt, signal);
        hindrance = undefined;
        if (state === "void") throw error;
      } finally {
        phase = "ended";
      }
    },

    async rollback() {
      if (phase === "ended") return;
      const stuck = (scope?.active ?? 0) > 0 || phase === "beginning";
      phase = "ended";
      fate.reject(new Error("the run has ended"));
      givenUp.abort(new Error("the run has ended"));
      // What waits for its turn finds that it has ended when it gets it.
      if (!tx) return;
      const over = ending.catch(() => undefined);
      const limit = Promise.withResolvers<void>();
      const timer = setTimeout(limit.resolve, stuck ? 0 : ROLLBACK_MS);
      await Promise.race([over, limit.promise]);
      clearTimeout(timer);
      app.cut(tx);
      await over;
    },
  };
}
