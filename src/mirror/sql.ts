// SQL of the mirror's tables for SQLite and Postgres: types, values, and statements, which are built once.

import { EVENT_TIME_FROM } from "./order.ts";
import { type Column, columnsOf, type Row, type Table, type Value } from "./table.ts";

export type Dialect = "sqlite" | "postgres";

/** A table with its name in the user's database. */
export interface NamedTable {
  table: Table;
  /** With the prefix: `clerk_users`. */
  name: string;
}

/** Bun's SQL, a run's `db`, or another client in this form (`clients.ts`). */
export interface Queryable {
  (text: TemplateStringsArray, ...values: unknown[]): PromiseLike<any>;
  options: object;
}

export function dialectOf({ options }: Pick<Queryable, "options">): Dialect {
  return (options as { adapter?: string }).adapter === "sqlite" ? "sqlite" : "postgres";
}

export async function tableExists(sql: Queryable, name: string): Promise<boolean> {
  const found: unknown[] =
    dialectOf(sql) === "sqlite"
      ? await sql`select 1 from sqlite_master where name = ${name}`
      : await sql`select 1 where to_regclass(${quoted(name)}) is not null`;
  return found.length > 0;
}

export const types: Record<Dialect, Record<Column["kind"] | "version", string>> = {
  sqlite: { text: "text", boolean: "boolean", integer: "integer", time: "text", json: "text", version: "text" },
  // Versions sort by bytes, independent of the database's locale.
  postgres: {
    text: "text",
    boolean: "boolean",
    integer: "bigint",
    time: "timestamptz",
    json: "jsonb",
    version: 'text collate "C"',
  },
};

/** Converts a value for the placeholder of its kind. */
export function encode(kind: Column["kind"], value: Value, dialect: Dialect): unknown {
  if (value === null) return null;
  if (kind === "json") return JSON.stringify(value);
  if (value instanceof Date) return value.toISOString();
  if (dialect === "postgres") return typeof value === "number" ? String(value) : value;
  return kind === "boolean" ? Number(value) : value;
}

/** The placeholder of a value. Drivers of Postgres differ in how they bind what is not text or boolean. */
export function hole(kind: Column["kind"], dialect: Dialect): string {
  return dialect === "sqlite" || kind === "text" || kind === "boolean" ? "?" : `?::text::${types.postgres[kind]}`;
}

/** Converts a row of the driver to the mirror's form, which is the same on both databases. */
export function decodeRow(table: Table, found: Record<string, unknown>): Row {
  const kinds = { ...columnsOf(table), deleted_at: { kind: "time" } } as Record<string, Pick<Column, "kind">>;
  const cells = Object.entries(kinds)
    .filter(([name]) => name in found)
    .map(([name, { kind }]) => [name, decode(kind, found[name])]);
  return Object.fromEntries(cells) as Row;
}

function decode(kind: Column["kind"], value: any): Value {
  if (value === null || value === undefined) return null;
  if (kind === "boolean") return Boolean(value);
  // A bigint of Postgres is a string.
  if (kind === "integer") return Number(value);
  if (kind === "time") return value instanceof Date ? value : new Date(value);
  if (kind === "json" && typeof value === "string") return JSON.parse(value) as object;
  return value;
}

export function quoted(name: string): string {
  return `"${name}"`;
}

/** A text with a `?` for each value, as the argument of a tagged template. */
export function template(text: string): TemplateStringsArray {
  const parts = text.split("?");
  // Bun accepts only an array with `raw`, as a real template has.
  return Object.defineProperty(parts, "raw", { value: parts }) as unknown as TemplateStringsArray;
}

/** Placeholders for a list of values: `?, ?, ?`. */
export function holes(values: readonly unknown[]): string {
  return values.map(() => "?").join(", ");
}

/** The source in `mirror_deletion` of a deletion by `bun drift`, in place of a delivery's id. */
export const BY_DRIFT = "drift";

const statements = new Map<string, ReturnType<typeof build>>();

/** The statements that write one table. */
export function statementsFor(named: NamedTable, dialect: Dialect) {
  const key = `${dialect} ${named.name}`;
  const known = statements.get(key) ?? build(named, dialect);
  statements.set(key, known);
  return known;
}

function build({ table, name }: NamedTable, dialect: Dialect) {
  const columns = Object.entries(columnsOf(table));
  const names = [...columns.map(([column]) => column), "mirror_version"].map(quoted);
  const holes = columns.map(([, { kind }]) => hole(kind, dialect));
  const sets = names.filter((column) => column !== '"id"').map((column) => `${column} = excluded.${column}`);
  const insert = `insert into ${quoted(name)} (${names.join(", ")}) values (${holes.join(", ")}, ?)
    on conflict (id) do update set ${sets.join(", ")}`;
  const version = `${quoted(name)}.mirror_version`;
  // `bun drift` infers a deletion from a missing object. A later event about the object proves it wrong.
  const deletion = `${quoted(name)}.mirror_deletion`;
  const revived = `deleted_at = case when ${deletion} like '% ${BY_DRIFT}'
    and ${deletion} < substr(excluded.mirror_version, ${EVENT_TIME_FROM}) then null else ${quoted(name)}.deleted_at end`;
  return {
    columns,
    /** An equal version is the same delivery or its replay, and is applied. */
    upsert: template(`${insert}, ${revived} where ${version} is null or excluded.mirror_version >= ${version}`),
    /** Only overwrites the version that was compared. */
    repair: template(`${insert} where ${version} is null or ${version} = ?`),
    remove: template(`update ${quoted(name)} set deleted_at = ${hole("time", dialect)}, mirror_deletion = ?
      where id = ? and (mirror_deletion is null or mirror_deletion < ?)`),
  };
}
