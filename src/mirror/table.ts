// The declaration of a mirror table: its columns, how each is read from Clerk's object, and how Clerk lists such
// objects. Creating, writing and comparing the table follow from that.

import type { ClerkClient } from "@clerk/backend";

import { toMilliseconds } from "../clerk/milliseconds.ts";

/** An object of Clerk's webhooks and API. */
export type ClerkObject = { readonly [name: string]: unknown };

/** A column's value: `text`, `boolean`, `timestamptz` and `jsonb` on Postgres; on SQLite times are ISO text. */
export type Value = string | boolean | Date | object | null;
export type Row = Record<string, Value>;

export interface Column {
  kind: "text" | "boolean" | "time" | "json";
  read: (object: ClerkObject) => unknown;
  /** The version of the table that added the column. Default: 1, the first one. */
  since?: number;
  /** Indexed, for queries by this column. */
  index?: boolean;
}

/** Objects that Clerk lists, oldest first where the API can sort. */
export interface Page {
  objects: ClerkObject[];
  total: number;
}

export interface Span {
  limit: number;
  offset: number;
}

export interface Table {
  /** Without the prefix: `users`. */
  name: TableName;
  /** The kind of the events: `user` of `user.created`. */
  kind: string;
  /** Besides `id`, `deleted_at` and `raw`, which every table has. */
  columns: Record<string, Column>;
  /** How Clerk lists the objects: all of them by `created_at`, or by organization. */
  source: { list: List; /** API requests per page. */ requests: number } | { listOf: ListOf };
  /** The current object; rejects with Clerk's 404 when it does not exist. */
  find(clerk: ClerkClient, row: Row): Promise<ClerkObject | undefined>;
}

export type List = (clerk: ClerkClient, span: Span) => Promise<Page>;
export type ListOf = (clerk: ClerkClient, organizationId: string, span: Span) => Promise<Page>;

export type TableName = "users" | "organizations" | "organization_memberships" | "organization_invitations";

/** `public_metadata` and the like. */
export type Metadata = "public" | "private" | "unsafe";

export const text = (read: Column["read"], more: Partial<Column> = {}): Column => ({ kind: "text", read, ...more });
export const boolean = (read: Column["read"], more: Partial<Column> = {}): Column => ({
  kind: "boolean",
  read,
  ...more,
});
export const time = (read: Column["read"], more: Partial<Column> = {}): Column => ({ kind: "time", read, ...more });
export const json = (read: Column["read"], more: Partial<Column> = {}): Column => ({ kind: "json", read, ...more });

/** All columns of a table in their order, including those of every table. */
export function columnsOf(table: Table): Record<string, Column> {
  return { id: text(({ id }) => id), ...table.columns, raw: json((object) => object) };
}

/** The row of an object. Absent and malformed values are null; metadata that is not kept is removed everywhere. */
export function readRow(table: Table, object: ClerkObject, kept: readonly Metadata[]): Row {
  const clean = cleaned(object, kept) as ClerkObject;
  const cells = Object.entries(columnsOf(table)).map(([name, { kind, read }]) => [name, readers[kind](read(clean))]);
  return Object.fromEntries(cells) as Row;
}

const readers: Record<Column["kind"], (value: unknown) => Value> = {
  text: (value) => (typeof value === "string" ? value : null),
  boolean: (value) => (typeof value === "boolean" ? value : null),
  time(value) {
    const milliseconds = toMilliseconds(value);
    return milliseconds === undefined || milliseconds > MAX_TIME_MS ? null : new Date(milliseconds);
  },
  json: (value) => (typeof value === "object" ? value : null),
};

// The end of the year 9999, up to which ISO text sorts by time.
const MAX_TIME_MS = 253_402_300_799_999;
const METADATA = /^(public|private|unsafe)_metadata$/;

/** Removes metadata that is not kept, also in nested objects, and characters that Postgres can't store as text. */
function cleaned(value: unknown, kept: readonly Metadata[] | undefined): unknown {
  if (typeof value === "string") return value.toWellFormed().replaceAll("\0", "\u{FFFD}");
  if (Array.isArray(value)) return value.map((item) => cleaned(item, kept));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).flatMap(([name, item]) => {
    const metadata = kept && METADATA.exec(name)?.[1];
    if (metadata && !kept.includes(metadata as Metadata)) return [];
    // The content of metadata belongs to the app, so its keys are not filtered.
    return [[cleaned(name, undefined), cleaned(item, metadata ? undefined : kept)]];
  });
  return Object.fromEntries(entries) as object;
}
