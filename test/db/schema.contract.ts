// The contract of `_schema.sql` and `_migrations/`, which every database must pass.

import { describe, expect, test } from "bun:test";

import { checkSchema, type Effects } from "../../src/db/effects.ts";
import type { Schema, SchemaStep } from "../../src/db/schema.ts";
import type { DatabaseUrl } from "../../src/db/url.ts";

export interface OpenedSchema extends AsyncDisposable {
  url: DatabaseUrl;
  /** One more server on the same database. Its steps are collected. */
  open(steps: SchemaStep[]): Promise<Effects>;
}

/** A trigger that copies each row of `one` into `two`. */
export type Trigger = string;

const one = { name: "_migrations/0001_one.sql", text: "create table one (a text);\n" };
const two = {
  name: "_migrations/0002_two.sql",
  text: "alter table one add column b text;\ninsert into one values ('x', 'y')",
};

/** The message of the first mistake; undefined when everything was applied. */
export async function mistakeOf(effects: Effects, schema: Schema): Promise<string | undefined> {
  return effects.applySchema(schema).then(
    () => undefined,
    (error: Error) => error.message,
  );
}

export function describeSchema(name: string, trigger: Trigger, openDatabase: () => Promise<OpenedSchema>) {
  async function open() {
    const database = await openDatabase();
    const steps: SchemaStep[] = [];
    const effects = await database.open(steps);
    return {
      ...database,
      effects,
      steps,
      applied: () => steps.splice(0).map((step) => (step.mistake === undefined ? step.name : `not ${step.name}`)),
      rows: async (query: string): Promise<unknown> => effects.sql.unsafe(query).values(),
      [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
    };
  }

  describe(`the schema on ${name}`, () => {
    test("migrations are applied once each, in order, before _schema.sql, and are recorded", async () => {
      await using opened = await open();
      const { effects, applied } = opened;
      const text = "create table if not exists three (a text);\ninsert into three select b from one;";
      expect(await mistakeOf(effects, { migrations: [one, two], text })).toBeUndefined();
      expect(applied()).toEqual([one.name, two.name, "_schema.sql"]);
      const three = { name: "_migrations/0003_three.sql", text: "-- nothing yet\n" };
      const windows = { ...one, text: one.text.replaceAll("\n", "\r\n") };
      expect(await mistakeOf(effects, { migrations: [windows, two, three], text })).toBeUndefined();
      expect(applied()).toEqual([three.name, "_schema.sql"]);
      expect(await opened.rows("select a from three")).toEqual([["y"], ["y"]]);
      expect(await opened.rows("select name, length(checksum) from bellhop_migrations order by name")).toEqual(
        [one, two, three].map(({ name }) => [name, 64]),
      );
      const [[at]] = (await opened.rows("select applied_at from bellhop_migrations")) as [[string | Date]];
      const time = new Date(at instanceof Date ? at : `${at}Z`);
      expect(Math.abs(Date.now() - time.getTime())).toBeLessThan(60_000);
    });

    test("a migration that was changed after it had been applied is reported, and what follows waits", async () => {
      await using opened = await open();
      const { effects, applied } = opened;
      await effects.applySchema({ migrations: [one] });
      const changed = { ...one, text: "create table one (a text, c text);\n" };
      const mistake = await mistakeOf(effects, { migrations: [changed, two], text: "create table four (a text)" });
      expect(mistake).toStartWith(`${one.name}: was changed after it had been applied`);
      expect(applied()).toEqual([one.name, `not ${one.name}`]);
      expect(await mistakeOf(effects, { migrations: [one, two] })).toBeUndefined();
    });

    test("a migration with a mistake is not applied in part, and keeps the later ones from being applied", async () => {
      await using opened = await open();
      const { effects, applied } = opened;
      const broken = {
        name: "_migrations/0002_broken.sql",
        text: "create table five (a text);\n\ninsert into nowhere values (1)",
      };
      const mistake = await mistakeOf(effects, {
        migrations: [one, broken, { ...two, name: "_migrations/0003.sql" }],
        text: "",
      });
      expect(mistake).toStartWith(`${broken.name}:3: `);
      expect(mistake).toContain("nowhere");
      expect(applied()).toEqual([one.name, `not ${broken.name}`]);
      const mended = { ...broken, text: "create table five (a text)" };
      expect(await mistakeOf(effects, { migrations: [one, mended] })).toBeUndefined();
      expect(applied()).toEqual([mended.name]);
    });

    test("several servers at once apply each migration once", async () => {
      await using database = await openDatabase();
      const steps: SchemaStep[] = [];
      const servers = await Promise.all(Array.from({ length: 4 }, () => database.open(steps)));
      await Promise.all(servers.map((each) => each.applySchema({ migrations: [one, two] })));
      expect(steps.map((step) => step.name)).toEqual([one.name, two.name]);
      expect(await servers[0]!.sql`select a, b from one`.values()).toEqual([["x", "y"]]);
    });

    test("a mistake is reported with its line, also when it shows only while a statement runs", async () => {
      await using opened = await open();
      const lines: [string, number | undefined][] = [
        ["create table a1 (a text);\n-- Grüße; '\ncreat table a2 (a text)", 3],
        ["-- ä\ncreate table a1 (\n  a text,\n  b txt,,\n  c text\n)", 4],
        [
          "create table a1 (a text primary key);\n\ninsert into a1 values ('x');\n\n  insert into a1 values ('x');\n",
          5,
        ],
        [
          "select 'a;\n';\n\n\ncreate table a1 (a text); /* ; */ create table a2 (a text);\ncreate table a1 (b text)",
          6,
        ],
      ];
      for (const [text, line] of lines)
        expect(await mistakeOf(opened.effects, { text })).toStartWith(`_schema.sql:${line}: `);
      expect(await opened.rows("select 1")).toEqual([[1]]);
    });

    test("a change that _schema.sql can apply only once is explained", async () => {
      await using opened = await open();
      const text = "create table if not exists t (a text);\nalter table t add column b text;";
      expect(await mistakeOf(opened.effects, { text })).toBeUndefined();
      expect(await mistakeOf(opened.effects, { text })).toMatch(/^_schema\.sql:2: .*_migrations\//);
    });

    test("a trigger after a table is applied", async () => {
      await using opened = await open();
      const text = `create table one (a text);\ncreate table two (a text);\n${trigger}\ninsert into one values ('x');`;
      expect(await mistakeOf(opened.effects, { text })).toBeUndefined();
      expect(await opened.rows("select a from two")).toEqual([["x"]]);
    });

    test("BEGIN and COMMIT in a file are refused, and nothing of it is applied", async () => {
      await using opened = await open();
      const text = "begin;\ncreate table one (a text);\ncommit;";
      for (const schema of [{ text }, { migrations: [{ ...one, text }] }])
        expect(await mistakeOf(opened.effects, schema)).toContain("leave BEGIN and COMMIT out");
      expect(await mistakeOf(opened.effects, { migrations: [one, two] })).toBeUndefined();
    });

    test("a COMMIT in the middle of a file is reported", async () => {
      await using opened = await open();
      expect(await mistakeOf(opened.effects, { text: "create table one (a text);\ncommit;" })).toContain("COMMIT");
      const transaction = opened.effects.write((tx) => tx`create table if not exists two (a text)`);
      await transaction;
      expect(await opened.rows("select a from two")).toEqual([]);
    });

    test("a file without statements is applied", async () => {
      await using opened = await open();
      for (const text of ["", "\n", "-- nothing", "/* nothing */\n"])
        expect(await mistakeOf(opened.effects, { text })).toBeUndefined();
    });

    test("a check tries everything, and leaves nothing behind", async () => {
      await using opened = await open();
      const names = async () =>
        opened.rows(
          name === "SQLite"
            ? "select name from sqlite_master order by name"
            : "select schema_name || coalesce(table_name, '') as name from information_schema.schemata s left join information_schema.tables t on t.table_schema = s.schema_name where schema_name not like 'pg%' order by 1",
        );
      // They are in the database already: the check begins with none all the same.
      await opened.effects.applySchema({ migrations: [one, two] });
      const before = await names();
      const good = await checkSchema(opened.url, { migrations: [one, two], text: trigger.replaceAll("two", "one") });
      expect(good.map(({ mistake, name }) => [name, mistake])).toEqual(
        [one.name, two.name, "_schema.sql"].map((name) => [name, undefined]),
      );
      const bad = await checkSchema(opened.url, { migrations: [one], text: "create table six (a text);\ncreat" });
      expect(String(bad.at(-1)?.mistake)).toContain("_schema.sql:2: ");
      expect(await names()).toEqual(before);
      expect(await opened.rows("select a from one")).toEqual([["x"]]);
    });
  });
}
