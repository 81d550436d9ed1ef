// The mirror's tables are created once and migrated by version, and the user's own tables are never changed.

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Effects } from "../../src/db/effects.ts";
import { type Table, text } from "../../src/mirror/table.ts";
import { users } from "../../src/mirror/users.ts";
import { serverWith, until } from "../harness.ts";
import { rejection } from "../rejection.ts";
import { mirrorIn, onBoth, rowsOf } from "./databases.ts";

setDefaultTimeout(30_000);

/** A table as a later version of Bellhop may declare it. */
const newer: Table = { ...users, columns: { ...users.columns, locale: text(({ locale }) => locale, { since: 2 }) } };

onBoth((database) => {
  test("servers that start at the same time create each table once", async () => {
    await using opened = await database();
    const all = await Promise.all(Array.from({ length: 4 }, () => opened.open()));
    await Promise.all(all.map((effects) => mirrorIn(effects)));
    const [effects] = all;
    expect(await versions(effects!)).toEqual({
      clerk_organization_invitations: 1,
      clerk_organization_memberships: 1,
      clerk_organizations: 1,
      clerk_users: 1,
    });
  });

  test("adds a new column to existing rows, and keeps a user's column of the same name", async () => {
    await using opened = await database();
    const effects = await opened.open();
    const [to] = await mirrorIn(effects, { only: [users] });
    await effects.sql`insert into clerk_users (id, first_name) values ('user_1', 'Ada')`;
    await mirrorIn(effects, { only: [newer] });
    await mirrorIn(effects, { only: [newer] });
    expect(await versions(effects)).toEqual({ clerk_users: 2 });
    expect((await rowsOf(effects, { ...to!, table: newer }))["user_1"]).toMatchObject({
      first_name: "Ada",
      locale: null,
    });

    await effects.sql.unsafe("drop table clerk_users");
    await effects.sql.unsafe("delete from bellhop_mirror");
    await mirrorIn(effects, { only: [users] });
    await effects.sql.unsafe("alter table clerk_users add column locale text default 'fr'");
    await mirrorIn(effects, { only: [newer] });
    await effects.sql`insert into clerk_users (id) values ('user_2')`;
    expect((await rowsOf(effects, { ...to!, table: newer }))["user_2"]).toMatchObject({ locale: "fr" });
  });

  test("refuses a table of a newer version", async () => {
    await using opened = await database();
    const effects = await opened.open();
    await mirrorIn(effects, { only: [newer] });
    expect(await rejection(mirrorIn(effects, { only: [users] }))).toContain("clerk_users is at version 2");
  });

  test("refuses and does not change a user's table of the same name", async () => {
    await using opened = await database();
    const effects = await opened.open();
    await effects.sql.unsafe("create table clerk_users (id integer)");
    expect(await rejection(mirrorIn(effects))).toContain('mirror({ prefix: "mirror_" })');
    expect([...(await effects.sql`select * from clerk_users`)]).toEqual([]);
  });
});

test("runs of a mirror fail with the logged error when its table belongs to the user", async () => {
  await using server = await serverWith({
    "_schema.sql": "create table if not exists other (id text);",
    "[...event].ts": `import { mirror } from "bellhop/mirror"; export default mirror({ tables: ["users"] });`,
    "organization.created.ts": `export default async ({ db }) => {
      await db\`drop table clerk_users\`;
      await db\`delete from bellhop_mirror\`;
      await db\`create table clerk_users (id integer)\`;
    };`,
  });
  const event = { type: "user.created", object: "event", data: { id: "user_1", created_at: 1_780_000_000_000 } };
  await server.post(event, { id: "msg_1" });
  expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "done" }] });
  await server.post({ type: "organization.created", object: "event", data: { id: "org_1" } }, { id: "msg_2" });
  await server.ended("msg_2");
  await server.stop();
  await using restarted = await serverWith({}, {}, server.folder);
  expect(restarted.lines.map(({ msg }) => msg)).toContainEqual(expect.stringContaining("clerk_users exists already"));
  await restarted.post(event, { id: "msg_3" });
  const error = await until(
    "the first attempt",
    async () => (await restarted.get("msg_3"))?.runs[0]?.attempts[0]?.error,
  );
  expect(error.message).toContain("clerk_users exists already");
});

async function versions(effects: Effects): Promise<Record<string, number>> {
  const rows = await effects.sql`select name, version from bellhop_mirror order by name`;
  return Object.fromEntries(rows.map(({ name, version }: { name: string; version: number }) => [name, version]));
}
