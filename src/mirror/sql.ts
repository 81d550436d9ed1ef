// What the mirror's tables are in SQL, on SQLite and on Postgres: types, values, and statements that are built once.

import type { SQL } from "bun";

import { type Column, columnsOf, type Row, type Table, type Value } from "./table.ts";

export type Dialect = "sqlite" | "postgres";

/** A table under the name that it has in somebody's database. */
export interface NamedTable {
  table: Table;
  /** With the prefix: `clerk_users`. */
  name: string;
}

export function dialectOf(sql: Pick<SQL, "options">): Dialect {
  return (sql.options as { adapter?: string }).adapter === "sqlite" ? "sqlite" : "postgres";
}

export const types: Record<Dialect, Record<Column["kind"] | "version", string>> = {
  sqlite: { text: "text", boolean: "boolean", time: "text", json: "text", version: "text" },
  // Versions sort by bytes, whatever the language of the database.
  postgres: { text: "text", boolean: "boolean", time: "timestamptz", json: "jsonb", version: 'text collate "C"' },
};

/** A value as the driver takes it. */
export function encode(kind: Column["kind"], value: Value, dialect: Dialect): unknown {
  if (value === null) return null;
  if (kind === "json") return JSON.stringify(value);
  if (dialect === "postgres") return value;
  return kind === "boolean" ? Number(value) : value instanceof Date ? value.toISOString() : value;
}

/** A row as the driver gives it, as the mirror knows it: the same on both databases. */
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
  if (kind === "time") return value instanceof Date ? value : new Date(value);
  if (kind === "json" && typeof value === "string") return JSON.parse(value) as object;
  return value;
}

export function quoted(name: string): string {
  return `"${name}"`;
}

/** A statement as a tagged template takes it: its text with a `?` for each value. */
export function template(text: string): TemplateStringsArray {
  const parts = text.split("?");
  // As a real one has it; Bun takes nothing else.
  return Object.defineProperty(parts, "raw", { value: parts }) as unknown as TemplateStringsArray;
}

/** For a list of values: `?, ?, ?`. */
export function holes(values: readonly unknown[]): string {
  return values.map(() => "?").join(", ");
}

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
  const holes = columns.map(([, { kind }]) => (kind === "json" && dialect === "postgres" ? "?::text::jsonb" : "?"));
  const sets = names.filter((each) => each !== '"id"').map((each) => `${each} = excluded.${each}`);
  const insert = `insert into ${quoted(name)} (${names.join(", ")}) values (${holes.join(", ")}, ?)
    on conflict (id) do update set ${sets.join(", ")}`;
  const its = `${quoted(name)}.mirror_version`;
  return {
    columns,
    /** An equal version is the same delivery, or a replay of it: it applies. */
    upsert: template(`${insert} where ${its} is null or excluded.mirror_version >= ${its}`),
    /** Only onto the state that somebody has seen. */
    repair: template(`${insert} where ${its} is null or ${its} = ?`),
    remove: template(`update ${quoted(name)} set deleted_at = ?, mirror_deletion = ?
      where id = ? and (mirror_deletion is null or mirror_deletion < ?)`),
  };
}
