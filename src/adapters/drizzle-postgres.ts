// Drizzle's session on Postgres: runs its queries on a handler's `db`, and its transactions as savepoints.

import type { SQL } from "bun";
import { BunSQLPreparedQuery, BunSQLSession, BunSQLTransaction } from "drizzle-orm/bun-sql/session";
import { NoopCache } from "drizzle-orm/cache/core";
import type { WithCacheConfig } from "drizzle-orm/cache/core/types";
import { Column } from "drizzle-orm/column";
import { is } from "drizzle-orm/entity";
import { type PgDialect, PgJson, PgJsonb } from "drizzle-orm/pg-core";
import type { SelectedFieldsOrdered } from "drizzle-orm/pg-core/query-builders/select.types";
import type { RelationalSchemaConfig, TablesRelationalConfig } from "drizzle-orm/relations";
import { Param, type Query, type QueryWithTypings } from "drizzle-orm/sql";

import {
  type Metadata,
  savepoint,
  type SessionOptions,
  type Tables,
  traceQueries,
  withoutValues,
} from "./query-trace.ts";

export class PostgresSession extends BunSQLSession<SQL, Tables, TablesRelationalConfig> {
  constructor(
    client: SQL,
    private readonly postgres: PgDialect,
    private readonly tables: RelationalSchemaConfig<TablesRelationalConfig> | undefined,
    private readonly options: SessionOptions,
  ) {
    super(client, postgres, tables, options);
  }

  override prepareQuery(
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    _name: string | undefined,
    inArrayMode: boolean,
    mapper?: (rows: unknown[][]) => any,
    metadata?: Metadata,
    cacheConfig?: WithCacheConfig,
  ) {
    const params = query.params.map((param, index) =>
      asJson(param, (query as QueryWithTypings).typings?.[index] === "json"),
    );
    const client = fields || mapper ? withRows(this.client, fields) : this.client;
    const prepared = new BunSQLPreparedQuery<any>(
      client, query.sql, params, this.logger, new NoopCache(), metadata, cacheConfig, fields, inArrayMode, mapper,
    ); // prettier-ignore
    return withoutValues(prepared);
  }

  override transaction<T>(body: (tx: BunSQLTransaction<Tables, TablesRelationalConfig>) => Promise<T>): Promise<T> {
    return savepoint(this.client, (sp) => {
      const session = (db: SQL) => new PostgresSession(db, this.postgres, this.tables, this.options);
      const tx = new PostgresTransaction(this.postgres, session(sp) as never, this.tables);
      return body(traceQueries(tx, sp, session));
    });
  }
}

class PostgresTransaction extends BunSQLTransaction<Tables, TablesRelationalConfig> {
  override transaction: PostgresSession["transaction"] = (body) =>
    (this as unknown as { session: PostgresSession }).session.transaction(body);
}

/** A value of a JSON column. Bun encodes it; Drizzle's own text would be encoded again, as a JSON string. */
class Json {
  constructor(private readonly value: unknown) {}

  toJSON() {
    return this.value;
  }
}

function asJson(param: unknown, isJson: boolean): unknown {
  if (isJson && typeof param === "string") return new Json(JSON.parse(param));
  // A placeholder of a prepared query.
  if (is(param, Param) && (is(param.encoder, PgJson) || is(param.encoder, PgJsonb)))
    return new Param(param.value, { mapToDriverValue: (value) => new Json(value) });
  return param;
}

// Type oids of Postgres, from pg_type.
const JSON_TYPES = new Set([114, 3802]);
const DATE = 1082;
const TIMESTAMPTZ = 1184;

/** Returns rows as Drizzle's columns expect them, of a driver that parses less than Bun. Raw SQL is left unchanged. */
function withRows(client: SQL, fields: SelectedFieldsOrdered | undefined): SQL {
  const isRaw = (index: number) => fields !== undefined && !is(fields[index]?.field, Column);
  const values = async (text: string, params: unknown[]) => {
    const result = await client.unsafe(text, params).values();
    const types = (result as { columns?: { type: number }[] }).columns ?? [];
    return (result as unknown[][]).map((row) =>
      row.map((value, index) => (isRaw(index) ? value : unparsed(value, types[index]?.type))),
    );
  };
  return { unsafe: (text: string, params: unknown[]) => ({ values: () => values(text, params) }) } as unknown as SQL;
}

function unparsed(value: unknown, type: number | undefined): unknown {
  // As text, since Drizzle would add the machine's offset to a UTC time.
  if (value instanceof Date) return timeText(value, type);
  // Drizzle parses every text of a JSON column, even if the value itself is a text.
  if (typeof value === "string" && JSON_TYPES.has(type ?? 0)) return JSON.stringify(value);
  if (ArrayBuffer.isView(value) && !(value instanceof Uint8Array)) return Array.from(value as Int32Array);
  return value;
}

function timeText(time: Date, type: number | undefined): string {
  const text = time.toISOString().slice(0, -1).replace("T", " ");
  if (type === DATE) return text.slice(0, 10);
  return type === TIMESTAMPTZ ? `${text}+00` : text;
}
