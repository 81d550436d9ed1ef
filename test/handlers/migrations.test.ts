// `_migrations/` and `_schema.sql` in the handlers folder of a whole server.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";

import { loadHandlers } from "../../src/handlers/loader.ts";
import { serverWith, temporaryFolder, until, writeHandlers } from "../harness.ts";

const event = { type: "user.created", object: "event", data: { id: "user_1", object: "user" } };
const WRITES =
  "export default async ({ data, db }) => { await db`insert into profiles (user_id, plan) values (${data.id}, 'free')`; };";

test("reads only the .sql files of _migrations, in the order of their names", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "_migrations/0010_b.sql": "ten",
    "_migrations/0002_a.sql": "two",
    "_migrations/README.md": "text",
    "_migrations/old/0001.sql": "old",
    "_schema.sql": "schema",
  });
  const table = await loadHandlers(join(folder.path, "handlers"), () => undefined);
  expect(table.migrations).toEqual([
    { name: "_migrations/0002_a.sql", text: "two" },
    { name: "_migrations/0010_b.sql", text: "ten" },
  ]);
  expect(table.schema).toBe("schema");
  expect(table.notHandlers.every(({ quiet }) => quiet)).toBe(true);
});

test("applies migrations at the start, not again after a restart, and a new one while bun dev runs", async () => {
  await using folder = await temporaryFolder();
  const files = {
    "_migrations/0001_profiles.sql": "create table profiles (user_id text primary key);",
    "_migrations/0002_plan.sql": "alter table profiles add column plan text;",
    "user.created.ts": WRITES,
  };
  {
    await using server = await serverWith(files, {}, folder.path);
    await server.post(event, { id: "msg_1" });
    expect((await server.ended("msg_1")).runs).toMatchObject([{ state: "done" }]);
  }
  await using server = await serverWith(files, {}, folder.path, "dev");
  expect(server.lines.filter(({ level }) => level === 50)).toEqual([]);
  await Bun.write(
    join(folder.path, "handlers/_migrations/0003_teams.sql"),
    "create table teams (a text);\ninsert into teams values ('blue');\n",
  );
  await until("the log line", () =>
    server.lines.find(({ msg }) => String(msg).endsWith("_migrations/0003_teams.sql is applied")),
  );
  using app = new Database(join(server.dataDir, "app.db"), { readonly: true });
  expect(app.query("select a from teams").values()).toEqual([["blue"]]);
  expect(app.query("select user_id, plan from profiles").values()).toEqual([["user_1", "free"]]);
});

test("logs a mistake in a migration with its file and line, and still receives deliveries", async () => {
  await using server = await serverWith({
    "_migrations/0001_profiles.sql": "create table profiles (user_id text primary key);\n\ncreat table x (a text);",
    "user.created.ts": WRITES,
  });
  const [error] = server.lines.filter(({ level }) => level === 50);
  expect(error?.msg).toMatch(/handlers\/_migrations\/0001_profiles\.sql:3: near "creat": syntax error$/);
  expect((await server.post(event)).status).toBe(200);
});
