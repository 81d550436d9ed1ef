// The contract of `_schema.sql` and `_migrations/`. Every database must pass it.

import { describe, expect, test } from "bun:test";

import { checkSchema, type Effects } from "../../src/db/effects.ts";
import type { Schema, SchemaStep } from "../../src/db/schema.ts";
import type { DatabaseUrl } from "../../src/db/url.ts";

export interface OpenedSchema extends AsyncDisposable {
  url: DatabaseUrl;
  /** Opens the database like another server, and collects its schema steps. */
  open(steps: SchemaStep[]): Promise<Effects>;
}

/** A trigger that copies each row of `one` into `two`. */
export type Trigger = string;

const one = { name: "_migrations/0001_one.sql", text: "create table one (a text);\n" };
const two = {
  name: "_migrations/0002_two.sql",
  text: "alter table one add column b text;\ninsert into one values ('x', 'y')",
};

/** The message of the first mistake, or undefined when everything was applied. */
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
    test("applies each migration once, in order, before _schema.sql, and records it", async () => {
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

    test("reports a migration that changed after it was applied, and applies nothing after it", async () => {
      await using opened = await open();
      const { effects, applied } = opened;
      await effects.applySchema({ migrations: [one] });
      const changed = { ...one, text: "create table one (a text, c text);\n" };
      const mistake = await mistakeOf(effects, { migrations: [changed, two], text: "create table four (a text)" });
      expect(mistake).toStartWith(`${one.name}: was changed after it had been applied`);
      expect(applied()).toEqual([one.name, `not ${one.name}`]);
      expect(await mistakeOf(effects, { migrations: [one, two] })).toBeUndefined();
    });

    test("rolls back a migration with a mistake, and applies no later ones", async () => {
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
      const fixed = { ...broken, text: "create table five (a text)" };
      expect(await mistakeOf(effects, { migrations: [one, fixed] })).toBeUndefined();
      expect(applied()).toEqual([fixed.name]);
    });

    test("concurrent servers apply each migration once", async () => {
      await using database = await openDatabase();
      const steps: SchemaStep[] = [];
      const servers = await Promise.all(Array.from({ length: 4 }, () => database.open(steps)));
      await Promise.all(servers.map((server) => server.applySchema({ migrations: [one, two] })));
      expect(steps.map((step) => step.name)).toEqual([one.name, two.name]);
      expect(await servers[0]!.sql`select a, b from one`.values()).toEqual([["x", "y"]]);
    });

    test("reports a mistake with its line, also when only running the statement reveals it", async () => {
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

    test("suggests a migration for a change that _schema.sql can apply only once", async () => {
      await using opened = await open();
      const text = "create table if not exists t (a text);\nalter table t add column b text;";
      expect(await mistakeOf(opened.effects, { text })).toBeUndefined();
      expect(await mistakeOf(opened.effects, { text })).toMatch(/^_schema\.sql:2: .*_migrations\//);
    });

    test("applies a trigger after its table", async () => {
      await using opened = await open();
      const text = `create table one (a text);\ncreate table two (a text);\n${trigger}\ninsert into one values ('x');`;
      expect(await mistakeOf(opened.effects, { text })).toBeUndefined();
      expect(await opened.rows("select a from two")).toEqual([["x"]]);
    });

    test("refuses a file with BEGIN and COMMIT, and applies nothing of it", async () => {
      await using opened = await open();
      const text = "begin;\ncreate table one (a text);\ncommit;";
      for (const schema of [{ text }, { migrations: [{ ...one, text }] }])
        expect(await mistakeOf(opened.effects, schema)).toContain("leave BEGIN and COMMIT out");
      expect(await mistakeOf(opened.effects, { migrations: [one, two] })).toBeUndefined();
    });

    test("reports a COMMIT in the middle of a file", async () => {
      await using opened = await open();
      expect(await mistakeOf(opened.effects, { text: "create table one (a text);\ncommit;" })).toContain("COMMIT");
      await opened.effects.write((tx) => tx`create table if not exists two (a text)`);
      expect(await opened.rows("select a from two")).toEqual([]);
    });

    test("applies a file without statements", async () => {
      await using opened = await open();
      for (const text of ["", "\n", "-- nothing", "/* nothing */\n"])
        expect(await mistakeOf(opened.effects, { text })).toBeUndefined();
    });

    test("a check tries every file, and leaves nothing behind", async () => {
      await using opened = await open();
      const names = async () =>
        opened.rows(
          name === "SQLite"
            ? "select name from sqlite_master order by name"
            : "select schema_name || coalesce(table_name, '') as name from information_schema.schemata s left join information_schema.tables t on t.table_schema = s.schema_name where schema_name not like 'pg%' order by 1",
        );
      // The migrations are applied already. The check must begin with an empty database anyway.
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
