// The contract of the schema on SQLite and on a real Postgres, and features that only Postgres has.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { openEffects } from "../../src/db/effects.ts";
import type { SchemaStep } from "../../src/db/schema.ts";
import { type DatabaseUrl, parseDatabaseUrl } from "../../src/db/url.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { describeSchema, mistakeOf, type OpenedSchema } from "./schema.contract.ts";

setDefaultTimeout(20_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);

async function databaseAt(url: DatabaseUrl, stack: AsyncDisposableStack): Promise<OpenedSchema> {
  return {
    url,
    open: async (steps) => stack.use(await openEffects(url, { onSchema: (step) => steps.push(step) })),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

describeSchema(
  "SQLite",
  "create trigger copies after insert on one begin insert into two (a) values (new.a); end;",
  async () => {
    const stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryFolder());
    return databaseAt({ kind: "sqlite", filename: join(path, "app.db") }, stack);
  },
);

describe.skipIf(noPostgres !== undefined)(noPostgres ?? "Postgres", () => {
  const open = async () => databaseAt(parseDatabaseUrl(await postgres!.database()), new AsyncDisposableStack());

  const trigger = `
    create function copy_row() returns trigger language plpgsql as $$ begin insert into two (a) values (new.a); return new; end $$;
    create trigger copies after insert on one for each row execute function copy_row();`;
  describeSchema("Postgres", trigger, open);

  test("applies a function with `begin atomic`", async () => {
    await using database = await open();
    const effects = await database.open([]);
    await effects.applySchema({
      text: "create table t (a int);\ncreate function n() returns bigint language sql begin atomic select count(*) from t; end;",
    });
    expect(await effects.sql`select n()::int as n`).toEqual([{ n: 0 }] as never);
  });

  test("concurrent servers build a concurrent index once", async () => {
    await using database = await open();
    const steps: SchemaStep[] = [];
    const migrations = [
      { name: "_migrations/1.sql", text: "create table t (a text)" },
      { name: "_migrations/2.sql", text: "create index concurrently t_a on t (a)" },
    ];
    const servers = await Promise.all(Array.from({ length: 4 }, () => database.open(steps)));
    await Promise.all(servers.map((server) => server.applySchema({ migrations })));
    expect(steps.map(({ name, mistake }) => [name, mistake])).toEqual(migrations.map(({ name }) => [name, undefined]));
    const more = { name: "_migrations/3.sql", text: "select 1; create index concurrently t_b on t (a)" };
    expect(await mistakeOf(servers[0]!, { migrations: [...migrations, more] })).toContain(
      "it must be the only statement of its file",
    );
  });

  test("settings that a dump changes do not outlast its file", async () => {
    await using database = await open();
    const effects = await database.open([]);
    const text = "select pg_catalog.set_config('search_path', '', false); set statement_timeout = 1234;";
    await effects.applySchema({
      migrations: [{ name: "_migrations/1.sql", text }],
      text: "create table if not exists t (a text)",
    });
    await Promise.all(
      Array.from({ length: 10 }, () =>
        effects.write(async (tx) => {
          expect(await tx`select a from t`.values()).toEqual([]);
          expect((await tx`show statement_timeout`.values()).flat()).toEqual(["0"]);
        }),
      ),
    );
  });
});
