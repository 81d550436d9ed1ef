// The exports of `bellhop/drizzle`: Drizzle on a handler's `db`, so that it writes in the run's transaction.
// Never opens a connection, never ends the transaction: `orm.transaction()` is a savepoint.

import type { SQL } from "bun";
import type { BunSQLQueryResultHKT } from "drizzle-orm/bun-sql/session";
import { DefaultLogger, type Logger } from "drizzle-orm/logger";
import { PgDatabase, PgDialect, type PgTable } from "drizzle-orm/pg-core";
import {
  createTableRelationsHelpers,
  extractTablesRelationalConfig,
  type RelationalSchemaConfig,
  type TablesRelationalConfig,
} from "drizzle-orm/relations";
import { BaseSQLiteDatabase, SQLiteAsyncDialect } from "drizzle-orm/sqlite-core";
import type { Casing } from "drizzle-orm/utils";

import { PostgresSession } from "./drizzle-postgres.ts";
import { SqliteSession } from "./drizzle-sqlite.ts";
import { type Tables, traceQueries } from "./query-trace.ts";

export interface DrizzleOptions<Schema extends Tables = NoTables> {
  /** Tables and relations, for `orm.query`. */
  schema?: Schema;
  casing?: Casing;
  /** Prints each query with its values. */
  logger?: boolean | Logger;
}

/** The result of `orm.run()` and of writes without `returning()` on SQLite. */
export interface SqliteRunResult {
  rows?: unknown[];
  /** Rows that were written. */
  changes: number;
  lastInsertRowid: number | null;
}

type NoTables = Record<string, never>;
export type SqliteOrm<Schema extends Tables = NoTables> = BaseSQLiteDatabase<"async", SqliteRunResult, Schema>;
export type PostgresOrm<Schema extends Tables = NoTables> = PgDatabase<BunSQLQueryResultHKT, Schema>;

/** The tables of a schema determine its database. */
type OrmOf<Schema extends Tables> =
  Extract<Schema[keyof Schema], PgTable> extends never ? SqliteOrm<Schema> : PostgresOrm<Schema>;

/**
 * Drizzle in the run's transaction, on the database that `DATABASE_URL` names.
 *
 *     await drizzle(db).insert(accounts).values({ userId: data.id });               // SQLite
 *     await drizzle<"postgres">(db).insert(accounts).values({ userId: data.id });   // Postgres
 *     const account = await drizzle(db, { schema }).query.accounts.findFirst();     // the database follows from the
 * schema
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller passes it explicitly
export function drizzle<Dialect extends "sqlite" | "postgres" = "sqlite">(
  db: SQL,
  options?: Omit<DrizzleOptions, "schema">,
): Dialect extends "postgres" ? PostgresOrm : SqliteOrm;
export function drizzle<Schema extends Tables>(
  db: SQL,
  options: DrizzleOptions<Schema> & { schema: Schema },
): OrmOf<Schema>;
export function drizzle(db: SQL, { schema: tables, casing, logger }: DrizzleOptions<Tables> = {}): unknown {
  const schema = tables && readSchema(tables);
  const options = { ...(logger && { logger: logger === true ? new DefaultLogger() : logger }) };
  const casingOption = casing && { casing };
  if (db.options.adapter === "sqlite") {
    const dialect = new SQLiteAsyncDialect(casingOption);
    const session = (client: SQL) => new SqliteSession(client, dialect, schema, options);
    return traceQueries(new BaseSQLiteDatabase("async", dialect, session(db) as never, schema as never), db, session);
  }
  const dialect = new PgDialect(casingOption);
  const session = (client: SQL) => new PostgresSession(client, dialect, schema, options);
  return traceQueries(new PgDatabase(dialect, session(db) as never, schema as never), db, session);
}

function readSchema(tables: Tables): RelationalSchemaConfig<TablesRelationalConfig> {
  const { tables: schema, tableNamesMap } = extractTablesRelationalConfig(tables, createTableRelationsHelpers);
  return { fullSchema: tables, schema, tableNamesMap };
}
