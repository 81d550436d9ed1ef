// An inbox of every released version opens with this one, and its waiting runs continue. One of a later version opens too,
// unless its tables need a newer Bellhop.

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { SQL } from "bun";

import { sample } from "../../src/clerk/samples.ts";
import { openPostgresInbox, openSqliteInbox } from "../../src/inbox/open.ts";
import { createBellhop } from "../../src/mount/entry.ts";
import { openPostgresStore } from "../../src/store/postgres.ts";
import { FIRST_SQLITE_VERSION, POSTGRES_SCHEMAS, SQLITE_SCHEMAS } from "../../src/store/schema.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { folderWithHandlers, SECRET, serverWith, temporaryFolder } from "../harness.ts";
import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";
import { rejection } from "../rejection.ts";

/** A delivery whose run waits, in the columns of the first version. */
const WAITING_RUN = [
  `insert into delivery(seq, id, type, subject, at, sample, received_at)
    values (1, 'msg_old', 'user.created', 'user_1', 1, 0, 1)`,
  `insert into run(id, seq, handler, order_key, at, due) values (1, 1, 'user.created', 'user user_1', 1, 0)`,
  `insert into order_key(key, state, head, handler, bulk, exclusive, due)
    values ('user user_1', 1, 1, 'user.created', 0, 0, 0)`,
];
const BODY = JSON.stringify(sample("user.created", { overrides: { data: { id: "user_1" } } }));
const HANDLERS = { "user.created.ts": "export default ({ data, log }) => log.info(data.id);" };
const DONE = [{ state: "done", attempts: [{ log: [{ message: "user_1" }] }] }];

/** Additions of a later version. */
const LATER = [
  "create table later(id integer primary key)",
  "alter table run add column later integer not null default 0",
];

async function openFails(options: Record<string, unknown>): Promise<string> {
  await using folder = await folderWithHandlers();
  const all = {
    clerkWebhookSigningSecret: SECRET,
    handlersDir: join(folder.path, "handlers"),
    dataDir: join(folder.path, "data"),
    logLevel: "silent",
    ...options,
  };
  return ((await createBellhop(all).catch((error: unknown) => error)) as Error).message;
}

describe("SQLite", () => {
  test.each(SQLITE_SCHEMAS.map((_, index) => index + 1))("runs what waits in an inbox of version %i", async (count) => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "data"));
    const old = new Database(join(folder.path, "data", "inbox.db"));
    for (const script of [...SQLITE_SCHEMAS.slice(0, count), ...WAITING_RUN]) old.run(script);
    old.query("insert into payload values (1, '{}', ?)").run(Buffer.from(BODY));
    old.run(`pragma user_version = ${FIRST_SQLITE_VERSION + count - 1}`);
    old.close();
    await using server = await serverWith(HANDLERS, {}, folder.path);
    expect((await server.ended("msg_old")).runs).toMatchObject(DONE);
  });

  test("an inbox of a later version is refused with a sentence", async () => {
    await using folder = await temporaryFolder();
    using later = new Database(join(folder.path, "inbox.db"));
    later.run("pragma user_version = 999");
    expect(await openFails({ dataDir: folder.path })).toContain("inbox.db was written by a newer Bellhop");
  });

  test("an inbox of a later version that only adds is used, and keeps its version", async () => {
    await using folder = await temporaryFolder();
    await (await openSqliteInbox(folder.path)).close();
    const file = join(folder.path, "inbox.db");
    const change = (statements: readonly string[]) => {
      using later = new Database(file);
      for (const statement of statements) later.run(statement);
      return (later.query("pragma user_version").get() as { user_version: number }).user_version;
    };
    const expected = change([]) + 1;
    change([...LATER, `pragma user_version = ${expected}`]);
    {
      await using server = await serverWith(HANDLERS, { DATA_DIR: folder.path });
      await server.post(JSON.parse(BODY), { id: "msg_1" });
      expect((await server.ended("msg_1")).runs).toMatchObject(DONE);
    }
    expect(change([])).toBe(expected);
    // A copy would lack what it has more.
    expect(() => openSqliteStore(file, { exact: true })).toThrow("written by a newer Bellhop");
    change([`update meta set value = ${expected} where key = 'reader'`]);
    expect(await openFails({ dataDir: folder.path })).toContain("inbox.db was written by a newer Bellhop");
  });
});

describe.skipIf(noPostgres !== undefined)("Postgres", () => {
  let postgres: Postgres;
  beforeAll(async () => {
    postgres = await startPostgres();
  });
  afterAll(async () => {
    await postgres[Symbol.asyncDispose]();
  });

  test.each(POSTGRES_SCHEMAS.map((_, index) => index + 1))(
    "runs what waits in an inbox of version %i",
    async (count) => {
      const url = await postgres.database();
      await using old = new SQL(url, { max: 1 });
      await old.unsafe([...POSTGRES_SCHEMAS.slice(0, count), ...WAITING_RUN].join(";"));
      await old`insert into payload values (1, '{}', ${Buffer.from(BODY)})`;
      await old`insert into meta values ('schema', ${count})`;
      await using server = await serverWith(HANDLERS, { INBOX_URL: url });
      expect((await server.ended("msg_old")).runs).toMatchObject(DONE);
    },
  );

  test("an inbox of a later version is refused with a sentence", async () => {
    const url = await postgres.database();
    await using later = new SQL(url, { max: 1 });
    await later.unsafe(POSTGRES_SCHEMAS.join(";"));
    await later`insert into meta values ('schema', 999)`;
    expect(await openFails({ inboxUrl: url })).toContain("INBOX_URL: this inbox has version 999 of the tables");
  });

  test("an inbox of a later version that only adds is used, and keeps its version", async () => {
    const url = await postgres.database();
    await (await openPostgresInbox({ url, prepare: true })).close();
    await using later = new SQL(url, { max: 1 });
    const expected = POSTGRES_SCHEMAS.length + 1;
    await later.unsafe(LATER.join(";"));
    await later`update meta set value = ${expected} where key = 'schema'`;
    {
      await using server = await serverWith(HANDLERS, { INBOX_URL: url });
      await server.post(JSON.parse(BODY), { id: "msg_1" });
      expect((await server.ended("msg_1")).runs).toMatchObject(DONE);
    }
    expect([...(await later`select value from meta where key = 'schema'`)]).toEqual([{ value: String(expected) }]);
    const refusal = `INBOX_URL: this inbox has version ${expected} of the tables`;
    expect(await rejection(openPostgresStore({ url, prepare: true }, { exact: true }))).toContain(refusal);
    await later`update meta set value = ${expected} where key = 'reader'`;
    expect(await openFails({ inboxUrl: url })).toContain(refusal);
  });
});
