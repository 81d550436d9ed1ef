// Runs the mirror's tests on SQLite and Postgres, each test with an empty database.

import { describe } from "bun:test";
import { join } from "node:path";

import { type Effects, openEffects } from "../../src/db/effects.ts";
import { parseDatabaseUrl } from "../../src/db/url.ts";
import type { Metadata } from "../../src/mirror/ensure-user-types.ts";
import { migrate } from "../../src/mirror/migrate.ts";
import { decodeRow, quoted, template } from "../../src/mirror/sql.ts";
import type { ClerkObject, Row, Table } from "../../src/mirror/table.ts";
import { DEFAULT_TABLES, tables } from "../../src/mirror/tables.ts";
import { applyEvent, type MirrorTable } from "../../src/mirror/write.ts";
import { temporaryFolder } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";

export interface Database extends AsyncDisposable {
  /** The value of `DATABASE_URL`. */
  url: string;
  /** Opens another connection, as another process would. */
  open(): Promise<Effects>;
}

/** Defines the same tests for SQLite and Postgres. Without Postgres, those are skipped and the reason is printed. */
export function onBoth(define: (database: () => Promise<Database>) => void): void {
  describe("SQLite", () =>
    define(async () => {
      const folder = await temporaryFolder();
      return createDatabase(`sqlite:${join(folder.path, "app.db")}`, folder);
    }));
  if (noPostgres) console.log(`skipped: ${noPostgres}`);
  describe.skipIf(noPostgres !== undefined)("Postgres", () =>
    define(async () => createDatabase(await (await postgres()).database(), { [Symbol.asyncDispose]: async () => {} })),
  );
}

let started: ReturnType<typeof startPostgres> | undefined;
// Ends with this process.
const postgres = () => (started ??= startPostgres());

/** `storage` is disposed after the connections. */
function createDatabase(url: string, storage: AsyncDisposable): Database {
  const stack = new AsyncDisposableStack();
  stack.use(storage);
  return {
    url,
    open: async () => stack.use(await openEffects(parseDatabaseUrl(url), { max: 4 })),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const defaults = tables.filter(({ name }) => DEFAULT_TABLES.includes(name));

/** Creates the four tables of `mirror()` with their default names, or others. */
export async function mirrorIn(
  effects: Effects,
  { only = defaults, kept = ["public"] }: { only?: readonly Table[]; kept?: readonly Metadata[] } = {},
): Promise<MirrorTable[]> {
  const into = only.map((table) => ({ table, name: `clerk_${table.name}`, kept }));
  await effects.applySchema({ tables: into.map((table) => (tx) => migrate(tx, table)) });
  return into;
}

/** The parts of an event that the mirror writes. */
export interface MirrorEvent {
  object: ClerkObject;
  deleted: boolean;
  at: number;
  delivery: string;
}

/** Writes an event as a run of the mirror does. */
export async function writeEvent(effects: Effects, to: MirrorTable, event: MirrorEvent): Promise<boolean> {
  return (await effects.write((tx) => applyEvent(tx, to, event))) === "written";
}

/** All rows by id, with the same values on both databases. */
export async function rowsOf(effects: Effects, { table, name }: MirrorTable): Promise<Record<string, Row>> {
  const found = await effects.sql(template(`select * from ${quoted(name)}`));
  return Object.fromEntries(found.map((row: Record<string, unknown>) => [row["id"], decodeRow(table, row)]));
}
