// The mirror's tests run on both databases: each gets an empty one of its own.

import { describe } from "bun:test";
import { join } from "node:path";

import { type Effects, openEffects } from "../../src/db/effects.ts";
import { parseDatabaseUrl } from "../../src/db/url.ts";
import { migrate } from "../../src/mirror/migrate.ts";
import { decodeRow, quoted, template } from "../../src/mirror/sql.ts";
import type { ClerkObject, Metadata, Row, Table } from "../../src/mirror/table.ts";
import { tables } from "../../src/mirror/tables.ts";
import { applyEvent, type MirrorTable } from "../../src/mirror/write.ts";
import { temporaryFolder } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";

export interface Database extends AsyncDisposable {
  /** For `DATABASE_URL`. */
  url: string;
  /** One more connection, as another process has one. */
  open(): Promise<Effects>;
}

/** Runs the same tests on SQLite and on Postgres; where there is none, that is said. */
export function onBoth(body: (database: () => Promise<Database>) => void): void {
  describe("SQLite", () =>
    body(async () => {
      const folder = await temporaryFolder();
      return opening(`sqlite:${join(folder.path, "app.db")}`, folder);
    }));
  if (noPostgres) console.log(`skipped: ${noPostgres}`);
  describe.skipIf(noPostgres !== undefined)("Postgres", () =>
    body(async () => opening(await (await postgres()).database(), { [Symbol.asyncDispose]: async () => {} })),
  );
}

let started: ReturnType<typeof startPostgres> | undefined;
// It ends with this process.
const postgres = () => (started ??= startPostgres());

function opening(url: string, last: AsyncDisposable): Database {
  const stack = new AsyncDisposableStack();
  stack.use(last);
  return {
    url,
    open: async () => stack.use(await openEffects(parseDatabaseUrl(url), { max: 4 })),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** All four, under their usual names, made. */
export async function mirrorIn(
  effects: Effects,
  { only = tables, kept = ["public"] }: { only?: readonly Table[]; kept?: readonly Metadata[] } = {},
): Promise<MirrorTable[]> {
  const into = only.map((table) => ({ table, name: `clerk_${table.name}`, kept }));
  await effects.applySchema({ tables: into.map((each) => (tx) => migrate(tx, each)) });
  return into;
}

export interface Said {
  object: ClerkObject;
  deleted: boolean;
  at: number;
  delivery: string;
}

/** As a run of the mirror does it. */
export async function tell(effects: Effects, to: MirrorTable, said: Said): Promise<boolean> {
  return (await effects.write((tx) => applyEvent(tx, to, said))) === "written";
}

/** Rows by id, the same on both databases. */
export async function rowsOf(effects: Effects, { table, name }: MirrorTable): Promise<Record<string, Row>> {
  const found = await effects.sql(template(`select * from ${quoted(name)}`));
  return Object.fromEntries(found.map((row: Record<string, unknown>) => [row["id"], decodeRow(table, row)]));
}
