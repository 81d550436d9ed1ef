// Shared by Drizzle's two sessions: savepoints, and the handler's line in the error of a query.

import { resolve } from "node:path";

import type { SavepointSQL, SQL, TransactionSQL } from "bun";
import type { Logger } from "drizzle-orm/logger";

export type Tables = Record<string, unknown>;

export interface SessionOptions {
  logger?: Logger;
}

/** Drizzle's metadata of a query. */
export interface Metadata {
  type: "select" | "update" | "delete" | "insert";
  tables: string[];
}

export function savepoint<T>(db: SQL, body: (sp: SavepointSQL) => Promise<T>): Promise<T> {
  return (db as TransactionSQL).savepoint(body) as Promise<T>;
}

/**
 * Adds the handler's line to the errors of queries. Drizzle runs a query when it is awaited, and by then the stack has
 * lost the caller; but it reads `session` when a query is built, in the handler's own call.
 */
export function traceQueries<Orm extends object>(orm: Orm, db: SQL, session: (db: SQL) => object): Orm {
  const getter = { get: () => session(traced(db)) };
  Object.defineProperty(orm, "session", getter);
  const { query = {} } = orm as { query?: Record<string, object> };
  for (const builder of Object.values(query)) Object.defineProperty(builder, "session", getter);
  return orm;
}

interface PreparedQuery {
  queryWithCache?: (text: string, values: unknown[], run: () => Promise<unknown>) => Promise<unknown>;
}

/** Keeps a query's values out of its error's message, which is logged and stored. Drizzle would add them. */
export function withoutValues<Prepared extends object>(prepared: Prepared): Prepared {
  const query = prepared as PreparedQuery;
  const original = query.queryWithCache?.bind(query);
  if (original) query.queryWithCache = async (text, _values, run) => original(text, [], run);
  return prepared;
}

const OWN = [`${resolve(import.meta.dir)}/`, "/node_modules/drizzle-orm/"];

function traced(db: SQL): SQL {
  const from: { stack?: string } = {};
  Error.captureStackTrace(from, traced);
  const place = (error: unknown): never => {
    const frames = from.stack
      ?.split("\n")
      .filter((line) => /^\s+at /.test(line) && !OWN.some((own) => line.includes(own)));
    if (error instanceof Error && frames?.length)
      error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n");
    throw error;
  };
  const unsafe = (text: string, values: unknown[]) => {
    const query = db.unsafe(text, values);
    return {
      values: () => query.values().catch(place),
      // oxlint-disable-next-line unicorn/no-thenable -- awaiting a query runs it, as with Bun's own
      then: (ok: (rows: unknown) => unknown, fail: (error: unknown) => unknown) => query.catch(place).then(ok, fail),
    };
  };
  return { unsafe, savepoint: (body: never) => savepoint(db, body) } as unknown as SQL;
}
