// What `drift` sees and repairs, against a stand-in for Clerk's API on a socket.

import { expect, setDefaultTimeout, test } from "bun:test";

import { createClerkClient } from "@clerk/backend";

import type { Effects } from "../../src/db/effects.ts";
import { UserError } from "../../src/errors.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { type Difference, drift } from "../../src/mirror/drift.ts";
import { type Ask, createThrottle } from "../../src/mirror/throttle.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import { type ClerkApi, startClerkApi } from "../clerk-api.ts";
import { type Database, mirrorIn, onBoth, rowsOf, tell } from "./databases.ts";

setDefaultTimeout(60_000);

interface Scene extends AsyncDisposable {
  api: ClerkApi;
  effects: Effects;
  into: MirrorTable[];
  /** What differs, in words. */
  look: (options?: { fix?: boolean; yes?: boolean; ask?: Ask }) => Promise<string[]>;
}

onBoth((database) => {
  test("tables that are as Clerk is have no drift, whatever order they were filled in", async () => {
    await using scene = await filled(database);
    expect(await scene.look()).toEqual([]);
  });

  test("what is missing, extra, deleted or different is told by row and column, and repaired", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    const [missing, extra, changed, deleted] = [...api.users.keys()].slice(10) as [string, string, string, string];
    await effects.sql`delete from clerk_users where id = ${missing}`;
    api.users.delete(extra);
    await effects.sql`update clerk_users set email = 'x@example.com', banned = ${api.users.get(changed)!.banned ? 0 : 1} = 1 where id = ${changed}`;
    await effects.sql`update clerk_users set deleted_at = created_at, mirror_deletion = '0' where id = ${deleted}`;
    const email = api.users.get(changed)!.email_addresses[0]?.email_address;
    const found = [
      `clerk_users different ${changed} banned,email`,
      `clerk_users deleted ${deleted} `,
      `clerk_users extra ${extra} `,
      `clerk_users missing ${missing} `,
    ].toSorted();
    expect(await look()).toEqual(found);
    expect(await look({ fix: true })).toEqual(found);
    expect(await look()).toEqual([]);
    const rows = await rowsOf(effects, into[0]!);
    expect(rows[changed]).toMatchObject({ email: email ?? null });
    expect(rows[extra]).toMatchObject({ deleted_at: expect.any(Date) });
    expect(rows[deleted]).toMatchObject({ deleted_at: null });
  });

  test("memberships and invitations of an organization that is gone are extra", async () => {
    await using scene = await filled(database);
    const { api, look } = scene;
    const [gone] = [...api.organizations.keys()] as [string];
    const lost = [...api.invitations.values()].filter(({ organization_id }) => organization_id === gone);
    const left = [...api.memberships.values()].filter(({ organization }) => organization.id === gone);
    api.organizations.delete(gone);
    for (const { id } of lost) api.invitations.delete(id);
    for (const { id } of left) api.memberships.delete(id);
    expect(await look({ fix: true })).toEqual(
      [
        `clerk_organizations extra ${gone} `,
        ...left.map(({ id }) => `clerk_organization_memberships extra ${id} `),
        ...lost.map(({ id }) => `clerk_organization_invitations extra ${id} `),
      ].toSorted(),
    );
    expect(await look()).toEqual([]);
  });

  test("a list without most of our users deletes none of them, unless that is confirmed", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    const kept = [...api.users.keys()].slice(6);
    for (const id of [...api.users.keys()].slice(0, 6)) api.users.delete(id);
    const deleted = async () => Object.values(await rowsOf(effects, into[0]!)).filter((row) => row["deleted_at"]);
    const refused = await look({ fix: true }).catch((error: Error) => error);
    expect(refused).toBeInstanceOf(UserError);
    expect(String(refused)).toContain("bun drift --fix --yes");
    expect(String(refused)).toContain("More than 5 of the 43 rows of clerk_users");
    expect(await deleted()).toHaveLength(0);
    expect(await look()).toHaveLength(6);
    expect(await look({ fix: true, yes: true })).toHaveLength(6);
    expect(await deleted()).toHaveLength(6);

    // A key that lists nobody.
    for (const id of kept) api.users.delete(id);
    expect(String(await look({ fix: true }).catch((error: Error) => error))).toContain("More than 5 of the 37 rows");
    expect(await deleted()).toHaveLength(6);
  });

  test("an event that is later than a deletion by drift shows that it was wrong; an earlier one does not", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    const [id, user] = [...api.users.entries()][0]!;
    const deletedAt = async () => (await rowsOf(effects, into[0]!))[id]?.["deleted_at"];
    const event = (at: number, first_name: string) =>
      tell(effects, into[0]!, {
        object: { ...user, first_name, updated_at: at },
        deleted: false,
        at,
        delivery: `msg_${first_name}`,
      });
    api.users.delete(id);
    const before = Date.now() - 1_000;
    await look({ fix: true });
    expect(await deletedAt()).toBeInstanceOf(Date);
    expect(await event(before, "Early")).toBe(true);
    expect(await deletedAt()).toBeInstanceOf(Date);
    expect(await event(Date.now() + 1_000, "Late")).toBe(true);
    expect(await deletedAt()).toBeNull();
    expect((await rowsOf(effects, into[0]!))[id]).toMatchObject({ first_name: "Late" });
    // What an event has deleted stays deleted.
    const at = Date.now() + 2_000;
    await tell(effects, into[0]!, {
      object: { id, object: "user", deleted: true },
      deleted: true,
      at,
      delivery: "msg_gone",
    });
    await event(Date.now() + 3_000, "Later");
    expect(await deletedAt()).toBeInstanceOf(Date);
  });

  test("an invitation that an organization no longer has is extra", async () => {
    await using scene = await filled(database);
    const [id] = [...scene.api.invitations.keys()] as [string];
    scene.api.invitations.delete(id);
    expect(await scene.look()).toEqual([`clerk_organization_invitations extra ${id} `]);
  });

  test("zz who is deleted after the page was read is no difference", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    const id = [...api.users.values()].toSorted((a, b) => a.created_at - b.created_at)[0]!.id;
    const listed = createThrottle({ rate: 1_000_000 });
    let done = false;
    const ask: Ask = async (question, requests) => {
      const answer = await listed(question, requests);
      if (!done) {
        done = true;
        api.users.delete(id);
        await tell(effects, into[0]!, {
          object: { id, object: "user", deleted: true },
          deleted: true,
          at: Date.now(),
          delivery: "msg_1",
        });
      }
      return answer;
    };
    expect(await look({ ask })).toEqual([]);
  });

  test("what has changed within the last minute is under way, and not judged", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    api.addUser({ updated_at: Date.now() });
    const [id, user] = [...api.users.entries()][0]!;
    const object = { ...user, first_name: "New", updated_at: Date.now() } as never;
    await tell(effects, into[0]!, { object, deleted: false, at: Date.now(), delivery: "msg_1" });
    expect(await look()).toEqual([]);
    expect((await rowsOf(effects, into[0]!))[id]).toMatchObject({ first_name: "New" });
  });

  test("users who are deleted in Clerk while it pages make nobody else extra", async () => {
    await using scene = await filled(database);
    const { api, look } = scene;
    const gone = [...api.users.keys()].slice(0, 12);
    let asked = 0;
    api.before = ({ path }) => {
      if (path !== "/v1/users" || (asked += 1) !== 3) return;
      for (const id of gone) api.users.delete(id);
    };
    const found = await look();
    for (const line of found) expect(gone).toContain(line.split(" ")[2]!);
  });

  test("a user who signs up after the last page was read is not extra", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    const listed = createThrottle({ rate: 1_000_000 });
    let signedUp = false;
    const ask: Ask = async (question, requests) => {
      const answer = await listed(question, requests);
      const { path, query } = api.requests.findLast((request) => request.path === "/v1/users") ?? {};
      if (signedUp || path === undefined || Number(query?.get("offset")) < 40) return answer;
      signedUp = true;
      const object = api.addUser() as never;
      await tell(effects, into[0]!, { object, deleted: false, at: Date.now(), delivery: "msg_1" });
      return answer;
    };
    expect(await look({ ask })).toEqual([]);
    expect(signedUp).toBe(true);
  });

  test("columns that a team has added are left alone", async () => {
    await using scene = await filled(database);
    const { api, effects, into, look } = scene;
    await effects.sql.unsafe("alter table clerk_users add column plan text default 'free'");
    const [id] = [...api.users.keys()] as [string];
    await effects.sql`update clerk_users set plan = 'pro', first_name = 'wrong' where id = ${id}`;
    expect(await look({ fix: true })).toEqual([`clerk_users different ${id} first_name`]);
    const [row] = await effects.sql`select plan from clerk_users where id = ${id}`;
    expect(row.plan).toBe("pro");
    expect(into).toHaveLength(4);
  });
});

/** Clerk with some of everything, all of it in the tables. */
async function filled(database: () => Promise<Database>): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const opened = stack.use(await database());
  const api = stack.use(await startClerkApi());
  const effects = await opened.open();
  const into = await mirrorIn(effects);
  const people = api.fill(43).map(({ id }) => id);
  // Many at one moment: pages begin and end between them.
  for (const id of people.slice(20, 32)) api.users.set(id, { ...api.users.get(id)!, created_at: 1_700_000_000_000 });
  for (let index = 0; index < 4; index += 1) {
    const { id } = api.addOrganization();
    api.addMembership(id, people[index]!);
    api.addInvitation(id);
    api.addInvitation(id, { status: "revoked" });
  }
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  const options = { clerk, effects, into, ask: createThrottle({ rate: 1_000_000 }), pageSize: 7 };
  await backfill(options);
  const held = stack.move();
  return {
    api,
    effects,
    into,
    async look({ fix = false, yes = false, ask = options.ask } = {}) {
      const found: Difference[] = [];
      const counts = await drift({ ...options, fix, yes, ask, onDifference: (each) => found.push(each) });
      expect(counts.reduce((sum, { differences }) => sum + differences, 0)).toBe(found.length);
      const words = ({ name, kind, id, fields }: Difference) =>
        `${name} ${kind} ${id} ${fields
          .map((field) => field.name)
          .toSorted()
          .join()}`;
      return found.map(words).toSorted();
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
