import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { type Generated, sql } from "kysely";

import { kysely } from "../../src/adapters/kysely.ts";
import { describePostgres, failureOf, openRun, preparePostgres } from "./databases.ts";

setDefaultTimeout(20_000);
await preparePostgres();

interface Tables {
  accounts: {
    user_id: string;
    plan: string | null;
    settings: unknown;
    created: unknown;
    big: unknown;
  };
  notes: { id: Generated<number>; user_id: string };
}

const AT = new Date("2026-01-02T03:04:05.678Z");
const SETTINGS = { theme: "dark", tags: ["a", "b"] };
const BIG = 9_007_199_254_740_993n;

const tables = (id: string) => `
  create table accounts (user_id text primary key, plan text, settings jsonb, created timestamptz, big bigint);
  create table notes (id ${id}, user_id text not null);`;

function describeKysely(
  kind: "sqlite" | "postgres",
  id: string,
  stored: { settings: unknown; created: unknown; big: unknown },
) {
  const open = () => openRun(kind, tables(id));

  test("stores values as `db` does, and returns rows, counts and single rows", async () => {
    await using run = await open();
    const orm = kysely<Tables>(run.db);
    const values = {
      user_id: "user_1",
      plan: "free",
      settings: SETTINGS,
      created: AT,
      big: kind === "sqlite" ? 12n : BIG,
    };
    const inserted = await orm.insertInto("accounts").values(values).executeTakeFirst();
    expect(inserted.numInsertedOrUpdatedRows).toBe(1n);
    const row = { user_id: "user_1", plan: "free", ...stored };
    expect(await orm.selectFrom("accounts").selectAll().execute()).toEqual([row]);
    expect(await orm.selectFrom("accounts").select("plan").executeTakeFirstOrThrow()).toEqual({ plan: "free" });
    expect(await orm.selectFrom("notes").selectAll().executeTakeFirst()).toBeUndefined();
    const updated = await orm
      .updateTable("accounts")
      .set({ plan: "pro" })
      .where("user_id", "=", "user_1")
      .executeTakeFirst();
    expect(updated.numUpdatedRows).toBe(1n);
    const note = await orm
      .insertInto("notes")
      .values({ user_id: "user_1" })
      .returning(["id", "user_id"])
      .executeTakeFirst();
    expect(note).toEqual({ id: 1, user_id: "user_1" });
    const joined = orm
      .selectFrom("notes")
      .innerJoin("accounts", "accounts.user_id", "notes.user_id")
      .select(["notes.id", "plan"]);
    expect(await joined.execute()).toEqual([{ id: 1, plan: "pro" }]);
    const deleted = await orm.deleteFrom("accounts").where("plan", "=", "none").executeTakeFirst();
    expect(deleted.numDeletedRows).toBe(0n);
    expect((await sql<{ plan: string }>`select plan from accounts where plan = ${"pro"}`.execute(orm)).rows).toEqual([
      { plan: "pro" },
    ]);
  });

  test("writes in the run's transaction", async () => {
    await using run = await open();
    const orm = kysely<Tables>(run.db);
    await orm.insertInto("notes").values({ user_id: "user_1" }).execute();
    expect(await run.effects.sql`select user_id from notes`.values()).toEqual([]);
    await run.commit();
    expect(await run.effects.sql`select user_id from notes`.values()).toEqual([["user_1"]]);
  });

  test("a failed query fails the run even when caught", async () => {
    await using run = await open();
    const orm = kysely<Tables>(run.db);
    await orm.insertInto("notes").values({ user_id: "user_1" }).execute();
    await orm
      .insertInto("nowhere" as "notes")
      .values({ user_id: "x" })
      .execute()
      .catch(() => undefined);
    expect(await failureOf(run.commit())).toContain("nowhere");
    await run.transaction.rollback();
    expect(await run.effects.sql`select user_id from notes`.values()).toEqual([]);
  });

  test("maps transactions to savepoints", async () => {
    await using run = await open();
    const orm = kysely<Tables>(run.db);
    const failing = orm.transaction().execute(async (tx) => {
      await tx.insertInto("notes").values({ user_id: "within" }).execute();
      throw new Error("no");
    });
    expect(await failureOf(failing)).toContain("no");
    const failed = orm.transaction().execute(async (tx) => {
      await tx.insertInto("notes").values({ user_id: "also" }).execute();
      await tx
        .insertInto("nowhere" as "notes")
        .values({ user_id: "x" })
        .execute();
    });
    expect(await failureOf(failed)).toContain("nowhere");
    const kept = await orm.transaction().execute(async (tx) => {
      await tx.insertInto("notes").values({ user_id: "kept" }).execute();
      return "its value";
    });
    expect(kept).toBe("its value");
    const serializable = orm
      .transaction()
      .setIsolationLevel("serializable")
      .execute(async () => undefined);
    expect(await failureOf(serializable)).toContain("isolation level");
    await run.commit();
    expect(await run.effects.sql`select user_id from notes`.values()).toEqual([["kept"]]);
  });

  test("rolls back a transaction whose failed query was caught", async () => {
    await using run = await open();
    const orm = kysely<Tables>(run.db);
    const swallowed = orm.transaction().execute(async (tx) => {
      await tx.insertInto("notes").values({ user_id: "within" }).execute();
      await tx
        .insertInto("nowhere" as "notes")
        .values({ user_id: "x" })
        .execute()
        .catch(() => undefined);
    });
    expect(await failureOf(swallowed)).toContain("nowhere");
    await run.commit();
    expect(await run.effects.sql`select user_id from notes`.values()).toEqual([]);
  });
}

describe("kysely on SQLite", () => {
  const stored = { settings: JSON.stringify(SETTINGS), created: AT.toISOString(), big: 12 };
  describeKysely("sqlite", "integer primary key", stored);
});

describePostgres("kysely on Postgres", () => {
  describeKysely("postgres", "serial primary key", { settings: SETTINGS, created: AT, big: String(BIG) });

  test("stores JSON as JSON", async () => {
    await using run = await openRun("postgres", tables("serial primary key"));
    const orm = kysely<Tables>(run.db);
    for (const [index, settings] of [SETTINGS, [1, 2], "text"].entries())
      await orm
        .insertInto("accounts")
        .values({ user_id: `${index}`, settings, created: AT, big: 1, plan: null })
        .execute();
    const types = await sql<{
      type: string;
    }>`select jsonb_typeof(settings) as type from accounts order by user_id`.execute(orm);
    expect(types.rows.map(({ type }) => type)).toEqual(["object", "array", "string"]);
  });
});
