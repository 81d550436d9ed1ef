import { describe, expect, expectTypeOf, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";

import { count, eq, relations, sql } from "drizzle-orm";
import * as pg from "drizzle-orm/pg-core";
import * as sqlite from "drizzle-orm/sqlite-core";

import { drizzle, type PostgresOrm, type SqliteOrm } from "../../src/adapters/drizzle.ts";
import { serverWith } from "../harness.ts";
import { describePostgres, failureOf, openRun, postgresUrl, preparePostgres } from "./databases.ts";

setDefaultTimeout(20_000);
await preparePostgres();

const AT = new Date("2026-01-02T03:04:05.678Z");
const SETTINGS = { theme: "dark", tags: ["a", "b"], nested: { n: 1 } };

describe("drizzle on SQLite", () => {
  const TABLES = `
    create table accounts (user_id text primary key, plan text, settings text, created integer, active integer, photo blob, big blob);
    create table notes (id integer primary key, user_id text not null, text text);`;
  const accounts = sqlite.sqliteTable("accounts", {
    userId: sqlite.text("user_id").primaryKey(),
    plan: sqlite.text(),
    settings: sqlite.text({ mode: "json" }).$type<object>(),
    created: sqlite.integer({ mode: "timestamp_ms" }),
    active: sqlite.integer({ mode: "boolean" }),
    photo: sqlite.blob({ mode: "buffer" }),
    big: sqlite.blob({ mode: "bigint" }),
  });
  const notes = sqlite.sqliteTable("notes", {
    id: sqlite.integer().primaryKey(),
    userId: sqlite.text("user_id").notNull(),
    text: sqlite.text(),
  });
  const schema = {
    accounts,
    notes,
    hasNotes: relations(accounts, ({ many }) => ({ notes: many(notes) })),
    ofAccount: relations(notes, ({ one }) => ({
      account: one(accounts, { fields: [notes.userId], references: [accounts.userId] }),
    })),
  };
  const full = {
    userId: "user_1",
    plan: "free",
    settings: SETTINGS,
    created: AT,
    active: true,
    photo: Buffer.from([1, 2]),
    big: 9_007_199_254_740_993n,
  };

  test("reads back every type of value unchanged, in every query form", async () => {
    await using run = await openRun("sqlite", TABLES);
    const orm = drizzle(run.db, { schema });
    expectTypeOf(orm).toEqualTypeOf<SqliteOrm<typeof schema>>();
    expect(await orm.insert(accounts).values(full)).toMatchObject({ changes: 1 });
    expect(await orm.select().from(accounts)).toEqual([full]);
    expect(await orm.select().from(accounts).all()).toEqual([full]);
    expect(await orm.select().from(accounts).get()).toEqual(full);
    expect(await orm.select({ plan: accounts.plan }).from(accounts).values()).toEqual([["free"]]);
    expect(await orm.update(accounts).set({ plan: "pro" }).run()).toMatchObject({ changes: 1 });
    expect(await orm.query.accounts.findFirst()).toEqual({ ...full, plan: "pro" });
    expect(await orm.query.accounts.findMany({ columns: { created: true } })).toEqual([{ created: AT }]);
    expect(await orm.$count(accounts)).toBe(1);
    expect(await orm.select({ n: count() }).from(accounts).get()).toEqual({ n: 1 });
    const added = { userId: "user_2", plan: null, settings: [1], created: null, active: false, photo: null, big: 1n };
    expect(await orm.insert(accounts).values(added).returning().get()).toEqual(added);
    const changed = orm.update(accounts).set({ plan: "team" }).where(eq(accounts.userId, "user_2"));
    expect(await changed.returning({ plan: accounts.plan })).toEqual([{ plan: "team" }]);
    const removed = orm.delete(accounts).where(eq(accounts.userId, "user_2"));
    expect(await removed.returning({ id: accounts.userId }).get()).toEqual({ id: "user_2" });
    await run.commit();
    const [row] = await run.effects.sql`select settings, typeof(created) as created from accounts`;
    expect([JSON.parse(row.settings), row.created]).toEqual([SETTINGS, "integer"]);
  });

  test("returns undefined when no row matches", async () => {
    await using run = await openRun("sqlite", TABLES);
    const orm = drizzle(run.db, { schema });
    const noMatch = eq(accounts.userId, "missing");
    expect(await orm.select().from(accounts).get()).toBeUndefined();
    expect(await orm.query.accounts.findFirst()).toBeUndefined();
    expect(await orm.update(accounts).set({ plan: "x" }).where(noMatch).returning().get()).toBeUndefined();
    expect(await orm.delete(accounts).where(noMatch).returning().get()).toBeUndefined();
    expect(await orm.get(sql`select 1 as one where 1 = 2`)).toBeUndefined();
    expect(await orm.select().from(accounts).all()).toEqual([]);
  });

  test("runs raw SQL, prepared queries, joins and relations", async () => {
    await using run = await openRun("sqlite", TABLES);
    const orm = drizzle(run.db, { schema });
    const add = orm
      .insert(accounts)
      .values({ userId: sql.placeholder("id"), settings: sql.placeholder("settings") })
      .prepare();
    await add.run({ id: "user_1", settings: SETTINGS });
    await orm.insert(notes).values([
      { userId: "user_1", text: "one" },
      { userId: "user_1", text: "two" },
      { userId: "user_9", text: "orphan" },
    ]);
    expect(await orm.all(sql`select user_id, ${AT} as at from accounts`)).toEqual([
      { user_id: "user_1", at: AT.toISOString() },
    ]);
    expect(await orm.get(sql`select user_id from accounts`)).toEqual({ user_id: "user_1" });
    expect(await orm.values(sql`select user_id from accounts`)).toEqual([["user_1"]]);
    expect(await orm.run(sql`update notes set text = text`)).toMatchObject({ changes: 3 });
    const joined = orm.select().from(notes).leftJoin(accounts, eq(accounts.userId, notes.userId)).orderBy(notes.id);
    expect((await joined).map((row) => [row.notes.text, row.accounts?.settings])).toEqual([
      ["one", SETTINGS],
      ["two", SETTINGS],
      ["orphan", undefined],
    ]);
    const withNotes = await orm.query.accounts.findFirst({ with: { notes: { columns: { text: true } } } });
    expect(withNotes).toMatchObject({ settings: SETTINGS, notes: [{ text: "one" }, { text: "two" }] });
    const note = await orm.query.notes.findFirst({ where: eq(notes.text, "orphan"), with: { account: true } });
    expect(note).toMatchObject({ account: null });
  });

  test("maps transactions to savepoints, also nested ones", async () => {
    await using run = await openRun("sqlite", TABLES);
    const orm = drizzle(run.db);
    await orm.insert(accounts).values({ userId: "before" });
    const failing = orm.transaction(async (tx) => {
      await tx.insert(accounts).values({ userId: "within" });
      tx.rollback();
    });
    expect(await failureOf(failing)).toContain("Rollback");
    await orm.transaction(async (tx) => {
      await tx.insert(accounts).values({ userId: "kept" });
      await tx.transaction((inner) => inner.insert(notes).values({ userId: "kept" }));
      await tx
        .transaction(async (inner) => {
          await inner.insert(accounts).values({ userId: "inner" });
          throw new Error("no");
        })
        .catch(() => undefined);
    });
    await run.commit();
    expect(await run.effects.sql`select user_id from accounts order by 1`.values()).toEqual([["before"], ["kept"]]);
    expect(await run.effects.sql`select user_id from notes`.values()).toEqual([["kept"]]);
  });

  test("a failed query fails the run even when caught, and its error has the database's error as cause", async () => {
    await using run = await openRun("sqlite", TABLES);
    const orm = drizzle(run.db);
    await orm.insert(accounts).values({ userId: "user_1" });
    const insertion = orm.insert(accounts).values({ userId: "user_1" });
    const error = (await insertion.catch((error: unknown) => error)) as Error & { cause: Error };
    expect(String(error.cause)).toContain("UNIQUE constraint failed");
    expect(error.message).toStartWith("Failed query: insert into");
    expect(String(error.stack)).not.toContain("user_1");
    const stack = String(error.cause.stack).split("\n");
    expect(stack[1]).toContain("drizzle.test.ts:");
    expect(await failureOf(run.commit())).toContain("UNIQUE constraint failed");
    await run.transaction.rollback();
    expect(await run.effects.sql`select * from accounts`.values()).toEqual([]);
  });

  test("applies `casing` to column names, and sends queries to a given logger", async () => {
    await using run = await openRun("sqlite", TABLES);
    const cased = sqlite.sqliteTable("accounts", { userId: sqlite.text().primaryKey() });
    const queries: string[] = [];
    const orm = drizzle(run.db, { casing: "snake_case", logger: { logQuery: (query) => queries.push(query) } });
    await orm.insert(cased).values({ userId: "user_1" });
    expect(await orm.select().from(cased)).toEqual([{ userId: "user_1" }]);
    expect(queries).toHaveLength(2);
  });
});

describePostgres("drizzle on Postgres", () => {
  const TABLES = `
    create table accounts (
      user_id text primary key, plan text, settings jsonb, plain json, created timestamptz, created_text timestamptz, day date,
      active boolean, big bigint, price numeric, tags text[], numbers integer[]
    );
    create table notes (id serial primary key, user_id text not null, text text);`;
  const accounts = pg.pgTable("accounts", {
    userId: pg.text("user_id").primaryKey(),
    plan: pg.text(),
    settings: pg.jsonb(),
    plain: pg.json(),
    created: pg.timestamp({ withTimezone: true }),
    createdText: pg.timestamp("created_text", { withTimezone: true, mode: "string" }),
    day: pg.date(),
    active: pg.boolean(),
    big: pg.bigint({ mode: "bigint" }),
    price: pg.numeric(),
    tags: pg.text().array(),
    numbers: pg.integer().array(),
  });
  const notes = pg.pgTable("notes", {
    id: pg.serial().primaryKey(),
    userId: pg.text("user_id").notNull(),
    text: pg.text(),
  });
  const schema = {
    accounts,
    notes,
    hasNotes: relations(accounts, ({ many }) => ({ notes: many(notes) })),
    ofAccount: relations(notes, ({ one }) => ({
      account: one(accounts, { fields: [notes.userId], references: [accounts.userId] }),
    })),
  };
  const full = {
    userId: "user_1",
    plan: "free",
    settings: SETTINGS,
    plain: [1, { a: null }],
    created: AT,
    createdText: "2026-01-02 03:04:05.678+00",
    day: "2026-01-02",
    active: true,
    big: 9_007_199_254_740_993n,
    price: "12.50",
    tags: ["a", 'b "quoted", c'],
    numbers: [1, 2],
  };

  test("reads back every type of value unchanged, in every query form", async () => {
    await using run = await openRun("postgres", TABLES);
    const orm = drizzle(run.db, { schema });
    expectTypeOf(orm).toEqualTypeOf<PostgresOrm<typeof schema>>();
    expect((await orm.insert(accounts).values(full)) as { count?: number }).toMatchObject({ count: 1 });
    expect(await orm.select().from(accounts)).toEqual([full]);
    expect(await orm.query.accounts.findFirst()).toEqual(full);
    expect(await orm.query.accounts.findMany({ columns: { settings: true } })).toEqual([{ settings: SETTINGS }]);
    expect(await orm.update(accounts).set({ plan: "pro" }).returning()).toEqual([{ ...full, plan: "pro" }]);
    expect(await orm.$count(accounts)).toBe(1);
    expect(await orm.execute(sql`select user_id, created from accounts`)).toEqual([{ user_id: "user_1", created: AT }]);
    await run.commit();
    expect(
      await run.effects.sql`select jsonb_typeof(settings) as jsonb, json_typeof(plain) as json from accounts`,
    ).toEqual([{ jsonb: "object", json: "array" }] as never);
  });

  test("stores JSON values of every type as JSON, also in prepared queries", async () => {
    await using run = await openRun("postgres", TABLES);
    const orm = drizzle<"postgres">(run.db);
    const values = [{ a: 1 }, [1], "text", '{"looks":"like"}', "5", 5, true, false, 0, null];
    for (const [index, settings] of values.entries())
      await orm.insert(accounts).values({ userId: `user_${index}`, settings, plain: settings });
    const back = await orm.select({ settings: accounts.settings, plain: accounts.plain }).from(accounts);
    expect(back).toEqual(values.map((value) => ({ settings: value, plain: value })));
    const add = orm
      .insert(accounts)
      .values({ userId: sql.placeholder("id"), settings: sql.placeholder("settings") })
      .prepare("add");
    await add.execute({ id: "prepared", settings: SETTINGS });
    await run.commit();
    const types = await run.effects.sql`
      select coalesce(jsonb_typeof(settings), 'sql null') from accounts order by user_id`.values();
    expect(types.flat()).toEqual([
      "object", "object", "array", "string", "string", "string", "number", "boolean", "boolean", "number", "sql null",
    ]); // prettier-ignore
  });

  test("runs joins and relations, and returns undefined when no row matches", async () => {
    await using run = await openRun("postgres", TABLES);
    const orm = drizzle(run.db, { schema });
    expect(await orm.query.accounts.findFirst()).toBeUndefined();
    expect(await orm.select().from(accounts)).toEqual([]);
    await orm.insert(accounts).values(full);
    await orm.insert(notes).values([
      { userId: "user_1", text: "one" },
      { userId: "user_9", text: "orphan" },
    ]);
    const joined = orm.select().from(notes).leftJoin(accounts, eq(accounts.userId, notes.userId)).orderBy(notes.id);
    expect((await joined).map((row) => [row.notes.text, row.accounts?.settings])).toEqual([
      ["one", SETTINGS],
      ["orphan", undefined],
    ]);
    const withNotes = await orm.query.accounts.findFirst({ with: { notes: { columns: { text: true } } } });
    expect(withNotes).toMatchObject({ settings: SETTINGS, created: AT, notes: [{ text: "one" }] });
    const note = await orm.query.notes.findFirst({ where: eq(notes.text, "one"), with: { account: true } });
    expect(note?.account).toMatchObject({ settings: SETTINGS, created: AT });
  });

  test("maps transactions to savepoints, and a failed query fails the run", async () => {
    await using run = await openRun("postgres", TABLES);
    const orm = drizzle(run.db, { schema });
    const failing = orm.transaction(async (tx) => {
      await tx.insert(accounts).values({ userId: "within", settings: SETTINGS });
      await tx.transaction((inner) => inner.insert(accounts).values({ userId: "within" }));
    });
    expect(await failureOf(failing)).toContain("duplicate key");
    await orm.transaction((tx) => tx.insert(accounts).values({ userId: "kept", settings: SETTINGS }));
    expect(await orm.select({ id: accounts.userId, settings: accounts.settings }).from(accounts)).toEqual([
      { id: "kept", settings: SETTINGS },
    ]);
    await orm.execute(sql`insert into nowhere values (1)`).catch(() => undefined);
    const failed = await orm.query.accounts.findMany({ where: sql`nowhere = 1` }).catch((error: Error) => error);
    expect(String(((failed as Error).cause as Error).stack)).toContain("drizzle.test.ts:");
    expect(await failureOf(run.commit())).toContain("nowhere");
  });

  // The handler file loads an instance of Drizzle that is not the adapter's.
  test("a handler file stores JSON as JSON and reads it back", async () => {
    const folder = await mkdtemp(join(import.meta.dir, "drizzle-"));
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rm(folder, { recursive: true }));
    const handler = `
      import { on } from "bellhop";
      import { drizzle } from "bellhop/drizzle";
      import { eq, sql } from "drizzle-orm";
      import { jsonb, pgTable, text, timestamp } from "drizzle-orm/pg-core";
      const accounts = pgTable("accounts", { userId: text("user_id"), settings: jsonb(), created: timestamp({ withTimezone: true }) });
      export default on("user.created", async ({ data, db, log }) => {
        const orm = drizzle<"postgres">(db, { schema: { accounts } });
        await orm.insert(accounts).values({ userId: data.id, settings: { a: 1 }, created: new Date(0) });
        const [row] = await orm.select({ created: accounts.created, type: sql\`jsonb_typeof(settings)\` }).from(accounts);
        const { settings } = await orm.query.accounts.findFirst({ where: eq(accounts.userId, data.id) });
        log.info(JSON.stringify({ ...row, settings }));
      });`;
    const files = { "user.created.ts": handler, "_schema.sql": TABLES };
    await using server = await serverWith(files, { DATABASE_URL: await postgresUrl() }, folder);
    await server.post(
      { type: "user.created", object: "event", data: { id: "user_1", object: "user" } },
      { id: "msg_1" },
    );
    const { runs } = await server.ended("msg_1");
    const message = '{"created":"1970-01-01T00:00:00.000Z","type":"object","settings":{"a":1}}';
    expect(runs).toMatchObject([{ state: "done", attempts: [{ log: [{ message }] }] }]);
  });
});
