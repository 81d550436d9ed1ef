// Inboxes of earlier versions get the tables of later ones when they are opened.

import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";

import { SQL } from "bun";

import { openPostgresInbox, openSqliteInbox } from "../../src/inbox/open.ts";
import { FIRST_SQLITE_VERSION, POSTGRES_SCHEMAS, SQLITE_SCHEMAS } from "../../src/store/schema.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);
if (!postgres) console.log(`skipped: ${noPostgres}`);

function tablesOf(path: string) {
  using db = new Database(path, { readonly: true });
  return db.query("select name, sql from sqlite_master where name not like 'sqlite_%' order by name").values();
}

test("SQLite: every earlier version becomes the current one", async () => {
  await using folder = await temporaryFolder();
  await (await openSqliteInbox(folder.path)).close();
  const current = tablesOf(join(folder.path, "inbox.db"));
  for (let steps = 1; steps < SQLITE_SCHEMAS.length; steps += 1) {
    await using old = await temporaryFolder();
    const path = join(old.path, "inbox.db");
    {
      using db = new Database(path);
      for (const step of SQLITE_SCHEMAS.slice(0, steps)) db.run(step);
      db.run(`pragma user_version = ${FIRST_SQLITE_VERSION + steps - 1}`);
    }
    for (let opened = 0; opened < 2; opened += 1) await (await openSqliteInbox(old.path)).close();
    expect(tablesOf(path)).toEqual(current);
  }
});

test.skipIf(!postgres)("Postgres: every earlier version becomes the current one", async () => {
  for (let steps = 1; steps < POSTGRES_SCHEMAS.length; steps += 1) {
    const url = await postgres!.database();
    await using sql = new SQL({ url, max: 1 });
    const schema = new URL(url).searchParams.get("search_path");
    const begin = `set search_path = ${schema}; ${POSTGRES_SCHEMAS.slice(0, steps).join(";")};`;
    await sql.unsafe(`${begin} insert into meta values ('schema', ${steps})`);
    for (let opened = 0; opened < 2; opened += 1) await (await openPostgresInbox({ url, prepare: true })).close();
    const [row] = await sql`select value from meta where key = 'schema'`;
    expect(Number(row.value)).toBe(POSTGRES_SCHEMAS.length);
    expect(await sql`select 1 from rollup`).toHaveLength(0);
  }
});
