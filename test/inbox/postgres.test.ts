// The inbox contract on Postgres, with and without prepared statements, and how both databases execute the statements that
// it has used.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { SQL } from "bun";

import { createCore, savedClock } from "../../src/inbox/core.ts";
import { openPostgresInbox } from "../../src/inbox/open.ts";
import { openPostgresStore, SETTINGS } from "../../src/inbox/postgres.ts";
import { openSqliteStore } from "../../src/inbox/sqlite.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import type { Clocks } from "./box.ts";
import { inboxContract } from "./contract.ts";
import { fill, readsOnPostgres, recordStatements, scansOnSqlite } from "./plans.ts";

setDefaultTimeout(20_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);
if (!postgres) console.log(`skipped: ${noPostgres}`);

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
  inboxContract("Postgres behind a pooler", async (folder, clocks) =>
    openPostgresInbox({ url: await urlOf(folder), prepare: false }, clocks),
  );
}

describe.skipIf(!postgres)("the inbox's statements", () => {
  test("read few rows on Postgres, although it planned them while the tables were tiny", async () => {
    expect(recording.size).toBeGreaterThan(60);
    const url = await postgres!.database();
    await (await openPostgresStore({ url, prepare: true })).close();
    await using sql = new SQL({ url, max: 1, connection: SETTINGS });
    await sql.unsafe(`${fill(1, 5)}; analyze`);
    const reads = await readsOnPostgres(sql, recording, () => sql.unsafe(fill(6, 40_000)));
    // At most five input rows and ten results each. The worst statement reads the runs of five order keys.
    const tooMany = reads.filter(({ rows, buffers }) => rows > 300 || buffers > 300);
    expect(tooMany).toEqual([]);
  }, 60_000);

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
