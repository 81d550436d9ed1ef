// Opening a Postgres store: it creates its tables, and refuses a database that can't keep the inbox's promises.

import { afterAll, describe, expect, test } from "bun:test";

import { SQL } from "bun";

import { InboxUnavailable, UserError } from "../../src/errors.ts";
import { openPostgresInbox } from "../../src/inbox/open.ts";
import { openPostgresStore } from "../../src/store/postgres.ts";
import { POSTGRES_SCHEMAS } from "../../src/store/schema.ts";
import { freePort } from "../free-port.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { startProxy } from "../proxy.ts";
import { failure } from "../store/postgres-store.ts";

const VERSION = String(POSTGRES_SCHEMAS.length);
const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose]());
if (noPostgres) console.log(`skipped: ${noPostgres}`);

describe.skipIf(!postgres)("opening a Postgres store", () => {
  const tables = (sql: SQL) => sql`
    select value from meta where key = 'schema' and to_regclass('delivery') is not null and to_regclass('run') is not null`;

  test("creates the tables once when two servers start at the same time, and keeps them", async () => {
    const url = await postgres!.database();
    await using sql = new SQL(url, { max: 1 });
    const open = () => openPostgresStore({ url, prepare: true });
    const stores = await Promise.all([open(), open(), openPostgresStore({ url, prepare: false })]);
    await Promise.all(stores.map((store) => store.close()));
    expect([...(await tables(sql))]).toEqual([{ value: VERSION }]);
    await sql`insert into meta(key, value) values ('clock', 5)`;
    await (await open()).close();
    expect(await sql`select value from meta where key = 'clock'`).toHaveLength(1);
  });

  test.each([true, false])(
    "creates the tables in their own schema unless the URL names one, with prepare %p",
    async (prepare) => {
      const url = new URL(await postgres!.database());
      await using admin = new SQL(url.href, { max: 1 });
      const database = `own_schema_${prepare}`;
      await admin.unsafe(`create database ${database}`);
      url.pathname = database;
      url.searchParams.delete("search_path");
      await using sql = new SQL(url.href, { max: 1 });
      await sql`create table meta(application text)`;
      await sql`create table run(application text)`;
      const store = await openPostgresStore({ url: url.href, prepare });
      await store.close();
      expect([...(await sql`select value from bellhop.meta where key = 'schema'`)]).toEqual([{ value: VERSION }]);
    },
  );

  test("names the remedy when the schema of the URL does not exist", async () => {
    const url = new URL(await postgres!.database());
    url.searchParams.set("search_path", "nowhere");
    expect(String(await failure(openPostgresStore({ url: url.href, prepare: true })))).toContain("has no such schema");
  });

  test("adds the tables and columns of later versions to an inbox of version 1", async () => {
    const url = await postgres!.database();
    await using sql = new SQL(url, { max: 1 });
    await sql.unsafe(`${POSTGRES_SCHEMAS[0]};
      insert into meta(key, value) values ('schema', 1);
      insert into delivery(id, type, at, sample, received_at) values ('msg_1', 'user.created', 1, 0, 1);
      insert into run(seq, handler, order_key, at, state, due) values (1, 'user.created', 'user', 1, 3, 1)`);
    await using inbox = await openPostgresInbox({ url, prepare: true });
    expect((await inbox.get("msg_1"))?.runs).toMatchObject([{ state: "dead", problem: null }]);
    expect(await inbox.problems.list("open", 9)).toEqual([]);
    expect([...(await tables(sql))]).toEqual([{ value: VERSION }]);
  });

  test("refuses tables that need a newer version", async () => {
    const url = await postgres!.database();
    await (await openPostgresStore({ url, prepare: true })).close();
    await using sql = new SQL(url, { max: 1 });
    await sql`update meta set value = 1000 where key in ('schema', 'reader')`;
    const error = await failure(openPostgresStore({ url, prepare: true }));
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toContain("1000");
  });

  test("refuses a Postgres that answers a COMMIT before it is durable", async () => {
    const url = new URL(await postgres!.database());
    await using sql = new SQL(url.href, { max: 1 });
    await sql`create role careless login superuser`;
    await sql`alter role careless set synchronous_commit = off`;
    url.username = "careless";
    const error = await failure(openPostgresStore({ url: url.href, prepare: true }));
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toContain("synchronous_commit");
  });

  test("reports a wrong user as a mistake in the settings, and an unreachable server as an outage", async () => {
    const url = new URL(await postgres!.database());
    url.username = "unknown_user";
    expect(await failure(openPostgresStore({ url: url.href, prepare: true }))).toBeInstanceOf(UserError);
    url.port = String(await freePort());
    expect(await failure(openPostgresStore({ url: url.href, prepare: true }))).toBeInstanceOf(InboxUnavailable);
    url.hostname = "does-not-exist.invalid";
    expect(await failure(openPostgresStore({ url: url.href, prepare: true }))).toBeInstanceOf(InboxUnavailable);
  });

  test("rejects with InboxUnavailable wherever Postgres is lost, so that the server retries", async () => {
    const url = new URL(await postgres!.database());
    using proxy = startProxy(postgres!.port);
    url.port = String(proxy.port);
    const errors: unknown[] = [];
    for (let allowed = 0; ; allowed += 1) {
      let messages = 0;
      // The first message of a connection begins with its length. Without an answer to it, Bun tries again for seconds.
      proxy.onClient = (bytes) => (bytes[0] === 0 || messages++ < allowed ? "forward" : "cut");
      const opened = await openPostgresInbox({ url: url.href, prepare: true }, { listen: false }).catch((error) => {
        errors.push(error);
      });
      await opened?.close();
      if (opened) break;
    }
    expect(errors.length).toBeGreaterThan(5);
    expect(errors.filter((error) => !(error instanceof InboxUnavailable))).toEqual([]);
  });
});
