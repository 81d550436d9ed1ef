// Drizzle's session on SQLite: runs its queries on a handler's `db`, and its transactions as savepoints.

import type { SQL } from "bun";
import { NoopCache } from "drizzle-orm/cache/core";
import type { WithCacheConfig } from "drizzle-orm/cache/core/types";
import type { Logger } from "drizzle-orm/logger";
import type { RelationalSchemaConfig, TablesRelationalConfig } from "drizzle-orm/relations";
import type { Query } from "drizzle-orm/sql";
import type { SQLiteAsyncDialect } from "drizzle-orm/sqlite-core";
import type { SelectedFieldsOrdered } from "drizzle-orm/sqlite-core/query-builders/select.types";
import type { SQLiteExecuteMethod } from "drizzle-orm/sqlite-core/session";
import { RemotePreparedQuery, SQLiteProxyTransaction, SQLiteRemoteSession } from "drizzle-orm/sqlite-proxy/session";

import {
  type Metadata,
  savepoint,
  type SessionOptions,
  type Tables,
  traceQueries,
  withoutValues,
} from "./query-trace.ts";

export class SqliteSession extends SQLiteRemoteSession<Tables, TablesRelationalConfig> {
  constructor(
    private readonly db: SQL,
    private readonly sqlite: SQLiteAsyncDialect,
    private readonly tables: RelationalSchemaConfig<TablesRelationalConfig> | undefined,
    private readonly options: SessionOptions,
  ) {
    super(async () => ({ rows: [] }), sqlite, tables, undefined, options);
  }

  override prepareQuery(
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    method: SQLiteExecuteMethod,
    inArrayMode: boolean,
    mapper?: (rows: unknown[][]) => unknown,
    metadata?: Metadata,
    cacheConfig?: WithCacheConfig,
  ) {
    // Drizzle maps its own queries by position, so they need arrays; raw SQL returns objects.
    const isMapped = fields !== undefined || mapper !== undefined;
    const client = async (text: string, values: unknown[], shape: string) => {
      const rowsOf = this.db.unsafe(text, values);
      const result = await (isMapped || shape === "values" ? rowsOf.values() : rowsOf);
      if (shape === "run") return { rows: [...result], changes: result.count, lastInsertRowid: result.lastInsertRowid };
      return { rows: shape === "get" ? result[0] : [...result] };
    };
    const logger = this.options.logger ?? SILENT;
    const prepared = new RemotePreparedQuery<any>(
      client, query, logger, new NoopCache(), metadata, cacheConfig, fields, method, inArrayMode, mapper,
    ); // prettier-ignore
    return withoutValues(prepared);
  }

  override transaction<T>(
    body: (tx: SQLiteProxyTransaction<Tables, TablesRelationalConfig>) => Promise<T>,
  ): Promise<T> {
    return savepoint(this.db, (sp) => {
      const session = (db: SQL) => new SqliteSession(db, this.sqlite, this.tables, this.options);
      const tx = new SqliteTransaction("async", this.sqlite, session(sp), this.tables);
      return body(traceQueries(tx, sp, session));
    });
  }
}

class SqliteTransaction extends SQLiteProxyTransaction<Tables, TablesRelationalConfig> {
  override transaction: SqliteSession["transaction"] = (body) =>
    (this as unknown as { session: SqliteSession }).session.transaction(body);
}

const SILENT: Logger = { logQuery: () => undefined };
