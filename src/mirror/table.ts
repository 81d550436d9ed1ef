// The declaration of a mirror table: its columns, how each is read from Clerk's object, and how Clerk lists such
// objects. Creating, writing and comparing the table follow from that.

import { toMilliseconds } from "../clerk/milliseconds.ts";
import type { Get } from "../clerk/requests.ts";
import type { Metadata } from "./ensure-user-types.ts";

/** An object of Clerk's webhooks and API. */
export type ClerkObject = { readonly [name: string]: unknown };

/** A column's value: `text`, `boolean`, `bigint`, `timestamptz`, `jsonb` on Postgres; on SQLite times are ISO text. */
export type Value = string | boolean | number | Date | object | null;
export type Row = Record<string, Value>;

export interface Column {
  kind: "text" | "boolean" | "integer" | "time" | "json";
  /** Undefined when the object does not have the property. */
  read: (object: ClerkObject) => unknown;
  /** The version of the table that added the column. Default: 1, the first one. */
  since?: number;
  /** Indexed, for queries by this column. */
  index?: boolean;
  /** Clerk changes it without an event, so `bun drift` does not compare it. */
  silent?: boolean;
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
  /**
   * Events have properties that the API does not return. An event then outranks what was read of the same state.
   */
  eventsHaveMore?: boolean;
  /** How Clerk lists the objects: all of them by `created_at`, or by organization, by user and so on. */
  source: Source | { listOf: ListOf; parents: readonly Parent[] };
  /**
   * The current object; rejects with Clerk's 404 when it does not exist. Without it, `bun drift` does not look for rows
   * that Clerk no longer has.
   */
  find?: (get: Get, row: Row) => Promise<ClerkObject | undefined>;
}

export type List = (get: Get, span: Span) => Promise<Page>;
export type ListOf = (get: Get, parent: ClerkObject, span: Span) => Promise<Page>;

export interface Source {
  list: List;
  /** API requests per page. */
  requests: number;
}

/** Objects whose children are listed for each of them. */
export interface Parent extends Source {
  /** The column that has the parent's id. */
  column: string;
  /** Those of at most 100 ids that exist: Clerk lists no children of a deleted parent. */
  existing?: (get: Get, ids: readonly string[]) => Promise<string[]>;
}

export type TableName =
  | "users"
  | "organizations"
  | "organization_memberships"
  | "organization_invitations"
  | "organization_domains"
  | "roles"
  | "permissions"
  | "subscriptions"
  | "subscription_items"
  | "payment_attempts"
  | "sessions"
  | "waitlist_entries";

export const text = (read: Column["read"], more: Partial<Column> = {}): Column => ({ kind: "text", read, ...more });
export const boolean = (read: Column["read"], more: Partial<Column> = {}): Column => ({
  kind: "boolean",
  read,
  ...more,
});
export const integer = (read: Column["read"], more: Partial<Column> = {}): Column => ({
  kind: "integer",
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

/** The columns, except `raw`, whose property the object has. */
export function columnsIn(table: Table, object: ClerkObject): string[] {
  return Object.keys(table.columns).filter((name) => table.columns[name]?.read(object) !== undefined);
}

const readers: Record<Column["kind"], (value: unknown) => Value> = {
  text: (value) => (typeof value === "string" ? value : null),
  boolean: (value) => (typeof value === "boolean" ? value : null),
  integer: (value) => (Number.isSafeInteger(value) ? (value as number) : null),
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
