// Reads DATABASE_URL as Prisma, Supabase, Neon and Cloud SQL provide it, with parameters that only other clients know.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { dirname } from "node:path";

import { openEffects } from "../../src/db/effects.ts";
import { DatabaseUrlError, describeDatabase, parseDatabaseUrl } from "../../src/db/url.ts";
import { noPostgres, startPostgres } from "../postgres.ts";

setDefaultTimeout(20_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);

const read = (text: string) => {
  const url = parseDatabaseUrl(text);
  if (url.kind !== "postgres") throw new Error(`${text} is read as ${url.kind}`);
  return url;
};

test("removes parameters that only other clients understand", () => {
  for (const query of [
    "supa=base-pooler.x",
    "uselibpqcompat=true",
    "pool=5",
    "workaround=supabase-pooler.vercel",
    "connect_timeout=10",
  ])
    expect([query, read(`postgres://u:p@db.test/app?${query}&application_name=x`).url]).toEqual([
      query,
      "postgres://u:p@db.test/app?application_name=x",
    ]);
});

test("reads a Unix socket, as of Cloud SQL, and a host from the parameters", () => {
  expect(read("postgres://u:pw@/db?host=/cloudsql/project:region:instance")).toMatchObject({
    path: "/cloudsql/project:region:instance/.s.PGSQL.5432",
    url: "postgres://u:pw@localhost/db",
  });
  expect(read("postgres:///db?host=/tmp&port=5433")).toMatchObject({ path: "/tmp/.s.PGSQL.5433" });
  expect(read("postgresql://u@/db?host=db.test&port=5433").url).toBe("postgresql://u@db.test:5433/db");
});

test("prepares no statements behind a pooler, and sends it no connection settings", () => {
  for (const text of [
    "postgres://u@db.test:6543/app?schema=tenant",
    "postgres://u@db.test:6432/app?schema=tenant",
    "postgres://u@ep-x-pooler.eu.test/app?schema=tenant",
    "postgres://u@db.test/app?schema=tenant&pgbouncer=true",
  ])
    expect(read(text)).toMatchObject({
      prepare: false,
      searchPath: "tenant",
      url: expect.not.stringContaining("search_path"),
    });
  expect(read("postgres://u@db.test/app?schema=tenant")).toMatchObject({
    prepare: true,
    url: expect.stringContaining("search_path=tenant"),
  });
});

test("names the mistake without the password", () => {
  for (const [text, message] of [
    ["postgres://u:secret%@db.test/app", "a % as %25"],
    ["postgres://u:secret@db.test/a%zz", "a % as %25"],
    ["postgres://u:secret@db.test/app?sslmode=strict", "sslmode=strict, expected one of disable"],
  ] as const) {
    let error: unknown;
    try {
      parseDatabaseUrl(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(DatabaseUrlError);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).not.toContain("secret");
  }
  expect(read("postgres://u@db.test/app?sslmode=no-verify").url).toContain("sslmode=require");
});

test("describes the database's location without the user", () => {
  expect(describeDatabase(read("postgres://ada:secret@db.test/app%20one"))).toBe("app one on db.test:5432");
  expect(describeDatabase(read("postgres://ada:secret@/app?host=/run/pg"))).toBe("app on /run/pg/.s.PGSQL.5432");
});

test.skipIf(!postgres)("writes through a Unix socket, in a schema that is set per transaction", async () => {
  const direct = new URL(await postgres!.database());
  const schema = direct.searchParams.get("search_path")!;
  const folder = dirname(postgres!.socket);
  const url = `postgres://postgres@/postgres?host=${folder}&port=${postgres!.port}&pgbouncer=true&schema=${schema}`;
  await using effects = await openEffects(parseDatabaseUrl(url), { max: 2 });
  await effects.applySchema({ text: "create table t (a text)" });
  const key = { delivery: "msg_1", handler: "user.created", replay: "", attempt: 1, owner: "A" };
  const transaction = effects.transaction({ key, timeoutMs: 5_000 });
  await transaction.db`insert into t values ('one')`;
  await transaction.finish();
  await transaction.commit(new AbortController().signal);
  expect(await effects.resolve(key, new AbortController().signal)).toBe("committed");
  await using check = await openEffects(parseDatabaseUrl(direct.href));
  expect(await check.sql`select a from t`.values()).toEqual([["one"]]);
  expect(await check.sql`select state from bellhop_ledger`.values()).toEqual([["committed"]]);
});
