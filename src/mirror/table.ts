// A table of the mirror as its own file declares it: which columns it has, how each is read from Clerk's object, and how
// Clerk lists such objects. Everything else (making it, writing it, comparing it) follows from that.

import type { ClerkClient } from "@clerk/backend";

import { toMilliseconds } from "../clerk/time.ts";

/** An object as Clerk's webhooks and its API carry it. */
export type ClerkObject = { readonly [name: string]: unknown };

/** What a column holds: as Postgres' `text`, `boolean`, `timestamptz` and `jsonb`; in SQLite times are ISO text. */
export type Value = string | boolean | Date | object | null;
export type Row = Record<string, Value>;

export interface Column {
  kind: "text" | "boolean" | "time" | "json";
  read: (object: ClerkObject) => unknown;
  /** The version of the table that brought it. Default: 1, with the table itself. */
  since?: number;
  /** People look rows up by it. */
  index?: boolean;
}

/** Objects that Clerk lists, oldest first where it can. */
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
  /** The kind of its events: `user` of `user.created`. */
  kind: string;
  /** Besides `id`, `deleted_at` and `raw`, which every table has. */
  columns: Record<string, Column>;
  /** How Clerk lists them: all of them by `created_at`, or those of one organization. */
  source: { list: List; /** What a page costs. */ requests: number } | { listOf: ListOf };
  /** One of them as it is now; rejects with Clerk's 404 when it is not there. */
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

/** Those of a table and those of every table, in the order in which they stand in it. */
export function columnsOf(table: Table): Record<string, Column> {
  return { id: text(({ id }) => id), ...table.columns, raw: json((object) => object) };
}

/** What a table holds of an object. Absent and misshapen values are null; metadata that is not kept is nowhere in it. */
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
    return milliseconds === undefined || milliseconds > MOST_MS ? null : new Date(milliseconds);
  },
  json: (value) => (typeof value === "object" ? value : null),
};

// The year 9999: ISO text sorts up to there.
const MOST_MS = 253_402_300_799_999;
const METADATA = /^(public|private|unsafe)_metadata$/;

/** Without metadata that is not kept, also in nested objects, and without what Postgres can't hold as text. */
function cleaned(value: unknown, kept: readonly Metadata[] | undefined): unknown {
  if (typeof value === "string") return value.toWellFormed().replaceAll("\0", "\u{FFFD}");
  if (Array.isArray(value)) return value.map((each) => cleaned(each, kept));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).flatMap(([name, each]) => {
    const metadata = kept && METADATA.exec(name)?.[1];
    if (metadata && !kept.includes(metadata as Metadata)) return [];
    // What stands in metadata is the application's, whatever it is called.
    return [[cleaned(name, undefined), cleaned(each, metadata ? undefined : kept)]];
  });
  return Object.fromEntries(entries) as object;
}
