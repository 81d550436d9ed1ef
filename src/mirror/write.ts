// Writes states and deletions of Clerk's objects. Each write is one statement that only applies if its version is
// later, so that writes in any order end in the same rows.

import type { Metadata } from "./ensure-user-types.ts";
import { deletionOf, isWhole, versionOf, versionOfRead, versionOfRest } from "./order.ts";
import { dialectOf, encode, holes, type NamedTable, type Queryable, quoted, statementsFor, template } from "./sql.ts";
import { type ClerkObject, readRow, type Row, type Table } from "./table.ts";

/** A table, and the metadata that it stores. */
export interface MirrorTable extends NamedTable {
  kept: readonly Metadata[];
}

const PREFIX = "clerk_";

/** A table with its name and its metadata. Throws on a prefix that can't be part of SQL statements. */
export function mirrorTable(
  table: Table,
  { prefix = PREFIX, metadata = ["public"] }: { prefix?: string; metadata?: readonly Metadata[] },
): MirrorTable {
  if (!/^[a-z_][a-z0-9_]{0,30}$/.test(prefix))
    throw new TypeError(
      `mirror({ prefix: ${JSON.stringify(prefix)} }): expected lowercase letters, digits and _, like "clerk_"`,
    );
  return { table, name: `${prefix}${table.name}`, kept: metadata };
}

// Clerk's clock may differ from the local one, and its API may lag a little behind its webhooks.
export const IN_FLIGHT_MS = 60_000;

/** `later`: the row has a later state already. `partial`: the object has no `created_at`, so it may be incomplete. */
export type Applied = "written" | "later" | "partial";

/** Writes the state or the deletion of a webhook. */
export async function applyEvent(
  db: Queryable,
  to: MirrorTable,
  { object, deleted, at, delivery }: { object: ClerkObject; deleted: boolean; at: number; delivery: string },
): Promise<Applied> {
  const whole = isWhole(object);
  if (!deleted && !whole) return "partial";
  if (!deleted) return (await applyState(db, to, object, versionOf(object, at, delivery))) ? "written" : "later";
  const version = whole ? versionOf(object, at, delivery) : versionOfRest(at, delivery);
  await applyState(db, to, object, version);
  return (await remove(db, to, String(object["id"]), at, delivery)) ? "written" : "later";
}

/**
 * Writes objects that Clerk's API returned at `readAt`. Restores rows that were deleted some time before: Clerk never
 * reuses an id, so such a deletion was wrong.
 */
export async function applyRead(
  db: Queryable,
  to: MirrorTable,
  objects: readonly ClerkObject[],
  readAt: number,
): Promise<void> {
  if (objects.length === 0) return;
  const { eventsHaveMore } = to.table;
  await Promise.all(objects.map((object) => applyState(db, to, object, versionOfRead(object, readAt, eventsHaveMore))));
  const ids = objects.map(({ id }) => id);
  const revive = template(`update ${quoted(to.name)} set deleted_at = null
    where deleted_at is not null and mirror_deletion < ? and id in (${holes(ids)})`);
  await db(revive, deletionOf(readAt - IN_FLIGHT_MS, ""), ...ids);
}

/** Overwrites the row if it still has the version `seen`. */
export async function repair(db: Queryable, to: MirrorTable, object: ClerkObject, readAt: number, seen: string) {
  const { repair: statement } = statementsFor(to, dialectOf(db));
  const row = readRow(to.table, object, to.kept);
  const written = await db(statement, ...values(db, to, row), versionOf(object, readAt, "read"), seen);
  return affected(written);
}

/** Marks a row as deleted at a time. False when a later deletion is stored. */
export async function remove(db: Queryable, to: MirrorTable, id: string, at: number, by: string): Promise<boolean> {
  const dialect = dialectOf(db);
  const key = deletionOf(at, by);
  return affected(await db(statementsFor(to, dialect).remove, encode("time", new Date(at), dialect), key, id, key));
}

async function applyState(db: Queryable, to: MirrorTable, object: ClerkObject, version: string): Promise<boolean> {
  const row = readRow(to.table, object, to.kept);
  return affected(await db(statementsFor(to, dialectOf(db)).upsert, ...values(db, to, row), version));
}

function values(db: Queryable, to: MirrorTable, row: Row): unknown[] {
  const dialect = dialectOf(db);
  const { columns } = statementsFor(to, dialect);
  return columns.map(([name, { kind }]) => encode(kind, row[name] ?? null, dialect));
}

function affected(result: unknown): boolean {
  return (result as { count?: number | null }).count !== 0;
}
