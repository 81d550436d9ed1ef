// The inbox contract on Postgres, with and without prepared statements, and how both databases execute the statements that
// it has used.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { SQL } from "bun";

import { createCore, savedClock } from "../../src/inbox/core.ts";
import { openPostgresInbox } from "../../src/inbox/open.ts";
import { openPostgresStore, SETTINGS } from "../../src/store/postgres.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { noPgBouncer, startPgBouncer } from "../pgbouncer.ts";
import { noPostgres, OTHER_VERSION, startPostgres } from "../postgres.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import type { Clocks } from "./box.ts";
import { inboxContract } from "./contract.ts";
import { fill, readsOnPostgres, recordStatements, scansOnSqlite } from "./plans.ts";

setDefaultTimeout(20_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);
const pooler = postgres && !noPgBouncer ? await startPgBouncer(postgres) : undefined;
afterAll(() => pooler?.[Symbol.asyncDispose]());
if (!postgres) console.log(`skipped: ${noPostgres}`);
else if (!pooler) console.log(`without a pooler, only as behind one: ${noPgBouncer}`);

/** The URL of each inbox's database, by the folder that its test uses. */
const urls = new Map<string, Promise<string>>();
function urlOf(folder: string): Promise<string> {
  if (!urls.has(folder)) urls.set(folder, postgres!.database());
  return urls.get(folder)!;
}

const recording = new Map();

async function openRecorded(folder: string, { wallClock, monotonic }: Clocks) {
  const store = recordStatements(await openPostgresStore({ url: await urlOf(folder), prepare: true }), recording);
  const base = Math.max(await savedClock(store), wallClock()) - monotonic();
  return createCore(store, { clock: () => Math.round(base + monotonic()) });
}

if (postgres) {
  inboxContract("Postgres", openRecorded);
  inboxContract(`Postgres behind ${pooler ? "PgBouncer" : "a pooler"}`, async (folder, clocks) => {
    const url = await urlOf(folder);
    return openPostgresInbox({ url: pooler?.through(url) ?? url, prepare: false }, clocks);
  });
}

// Until Postgres 17, a plan that was cached while a table was tiny may read all of it until the next ANALYZE, which
// autovacuum runs within a minute or two while the table grows.
if (OTHER_VERSION)
  console.log(`skipped: plans that are cached while tables are tiny, with the Postgres of ${OTHER_VERSION}`);

describe.skipIf(!postgres)("the inbox's statements", () => {
  test.skipIf(OTHER_VERSION !== undefined)(
    "read few rows on Postgres, although it planned them while the tables were tiny",
    async () => {
      expect(recording.size).toBeGreaterThan(60);
      const url = await postgres!.database();
      await (await openPostgresStore({ url, prepare: true })).close();
      await using sql = new SQL({ url, max: 1, connection: { ...SETTINGS, statement_timeout: "0" } });
      await sql.unsafe(`${fill(1, 5)}; analyze`);
      const reads = await readsOnPostgres(sql, recording, () => sql.unsafe(fill(6, 40_000)));
      // At most five input rows and ten results each. The worst statement reads the runs of five order keys.
      const tooMany = reads.filter(({ rows, buffers }) => rows > 300 || buffers > 300);
      expect(tooMany).toEqual([]);
    },
    60_000,
  );

  test("read no whole table on SQLite", async () => {
    await using folder = await temporaryFolder();
    const store = openSqliteStore(`${folder.path}/inbox.db`);
    try {
      expect(await scansOnSqlite(store, recording)).toEqual([]);
    } finally {
      await store.close();
    }
  });
});
