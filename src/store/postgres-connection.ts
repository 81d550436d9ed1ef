// Runs statements on one Postgres connection. A connection may stop answering without an error, so nothing may wait for it
// without a deadline. Every rejected promise of a pipeline must be handled, or it would end the process.

import { type ReservedSQL, SQL } from "bun";

import { InboxUnavailable } from "../errors.ts";
import { type Result, type Send, transactionOn } from "./postgres-dialect.ts";
import type { Transaction } from "./store.ts";

// Classes of SQLSTATE: connection, authentication, no such database, transaction rollback, resources, operator, system,
// internal; and read-only server, idle transaction ended, lock not available.
const UNAVAILABLE = /^(?:08|28|3D|40|53|57|58|XX|25006|25P03|55P03)/;

class DeadlineError extends Error {
  constructor() {
    super("Postgres did not answer in time");
  }
}

export function sqlState(error: unknown): string | undefined {
  return error instanceof SQL.PostgresError ? error.errno : undefined;
}

/** Whether the error is about the database, not about the statement. Bun's own errors have no SQLSTATE: lost connections. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof DeadlineError || error instanceof InboxUnavailable) return true;
  return error instanceof SQL.PostgresError && UNAVAILABLE.test(error.errno ?? "08");
}

/** The connection was lost before COMMIT was sent, so that nothing of the transaction can ever become durable. */
export function isLostEarly(error: unknown): boolean {
  if (!(error instanceof SQL.PostgresError) || !uncommitted.has(error)) return false;
  return error.errno === undefined ? error.code === "ERR_POSTGRES_CONNECTION_CLOSED" : error.errno.startsWith("57P");
}

/** Errors of transactions whose COMMIT was never sent. */
const uncommitted = new WeakSet<object>();

/** Rejects after `limitMs` at the latest, and closes the connection then. */
export async function withConnection<T>(
  pool: SQL,
  limitMs: number,
  body: (connection: ReservedSQL) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(new DeadlineError()), limitMs);
  let connection: ReservedSQL | undefined;
  try {
    connection = await pool.reserve({ signal: deadline.signal });
    const expired = Promise.withResolvers<never>();
    deadline.signal.addEventListener("abort", () => {
      connection?.close({ timeout: 0 }).catch(() => undefined);
      expired.reject(deadline.signal.reason);
    });
    return await Promise.race([body(connection), expired.promise]);
  } finally {
    clearTimeout(timer);
    void connection?.release();
  }
}

export function sendOn(connection: ReservedSQL): Send {
  return async (text, values) => queryOn(connection, text, values);
}

/** `begin` is the SQL that starts the transaction, if not just BEGIN. */
export async function runTransaction<T>(
  connection: ReservedSQL,
  begin: string | undefined,
  body: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  const sent: Promise<unknown>[] = [];
  let ended = false;
  let commits = false;
  const track = <R>(query: SQL.Query<R>): Promise<R> => {
    const promise = query.execute();
    promise.catch(() => undefined);
    sent.push(promise);
    return promise;
  };
  const send: Send = (text, values) => {
    // The statement would be committed on its own.
    if (ended) throw new Error("the transaction has ended");
    return track(queryOn(connection, text, values));
  };
  try {
    void track(begin ? connection.unsafe(begin) : connection`begin`);
    const result = await body(transactionOn(send));
    ended = true;
    commits = true;
    // After a failed statement, COMMIT rolls back and resolves; only the statement's own promise rejects.
    void track(connection`commit`);
    await Promise.all(sent);
    return result;
  } catch (error) {
    ended = true;
    void track(connection`rollback`);
    const results = await Promise.allSettled(sent);
    // Later statements fail because the first one did, and `body` may have thrown because of either.
    const first = results.find((result) => result.status === "rejected");
    const reason: unknown = first ? first.reason : error;
    if (!commits && typeof reason === "object" && reason !== null) uncommitted.add(reason);
    throw reason;
  }
}

function queryOn(connection: ReservedSQL, text: string, values: unknown[]): SQL.Query<Result> {
  if (values.length > 0) return connection.unsafe(text, values);
  // Without values, `unsafe` uses the simple protocol, which can't be pipelined. A template does not.
  const strings = Object.defineProperty([text], "raw", { value: [text] });
  return connection(strings as unknown as TemplateStringsArray);
}
