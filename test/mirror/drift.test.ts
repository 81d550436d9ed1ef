// Differences that `drift` finds and repairs, with a stand-in for Clerk's API.

import { expect, setDefaultTimeout, test } from "bun:test";

import { createRequests } from "../../src/clerk/requests.ts";
import type { Effects } from "../../src/db/effects.ts";
import { UserError } from "../../src/errors.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { type Difference, drift } from "../../src/mirror/drift.ts";
import { type Ask, createThrottle } from "../../src/mirror/throttle.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import { type ClerkApi, startClerkApi } from "../clerk-api.ts";
import { rejection } from "../rejection.ts";
import { type Database, mirrorIn, onBoth, rowsOf, writeEvent } from "./databases.ts";

setDefaultTimeout(60_000);

interface Scene extends AsyncDisposable {
  api: ClerkApi;
  effects: Effects;
  into: MirrorTable[];
  /** Runs `drift` and returns the differences as text. */
  findDrift: (options?: { fix?: boolean; yes?: boolean; ask?: Ask }) => Promise<string[]>;
}

onBoth((database) => {
  test("finds nothing after a backfill", async () => {
    await using scene = await filled(database);
    expect(await scene.findDrift()).toEqual([]);
  });

  test("reports and repairs missing, extra, wrongly deleted and different rows", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
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
    expect(await findDrift()).toEqual(found);
    expect(await findDrift({ fix: true })).toEqual(found);
    expect(await findDrift()).toEqual([]);
    const rows = await rowsOf(effects, into[0]!);
    expect(rows[changed]).toMatchObject({ email: email ?? null });
    expect(rows[extra]).toMatchObject({ deleted_at: expect.any(Date) });
    expect(rows[deleted]).toMatchObject({ deleted_at: null });
  });

  test("memberships and invitations of a deleted organization are extra", async () => {
    await using scene = await filled(database);
    const { api, findDrift } = scene;
    const [deleted] = [...api.organizations.keys()] as [string];
    const invitations = [...api.invitations.values()].filter(({ organization_id }) => organization_id === deleted);
    const memberships = [...api.memberships.values()].filter(({ organization }) => organization.id === deleted);
    api.organizations.delete(deleted);
    for (const { id } of invitations) api.invitations.delete(id);
    for (const { id } of memberships) api.memberships.delete(id);
    expect(await findDrift({ fix: true })).toEqual(
      [
        `clerk_organizations extra ${deleted} `,
        ...memberships.map(({ id }) => `clerk_organization_memberships extra ${id} `),
        ...invitations.map(({ id }) => `clerk_organization_invitations extra ${id} `),
      ].toSorted(),
    );
    expect(await findDrift()).toEqual([]);
  });

  test("deletes many users that Clerk no longer lists only after a confirmation", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
    const kept = [...api.users.keys()].slice(6);
    for (const id of [...api.users.keys()].slice(0, 6)) api.users.delete(id);
    const deleted = async () => Object.values(await rowsOf(effects, into[0]!)).filter((row) => row["deleted_at"]);
    const refused = await findDrift({ fix: true }).catch((error: Error) => error);
    expect(refused).toBeInstanceOf(UserError);
    expect(String(refused)).toContain("bun drift --fix --yes");
    expect(String(refused)).toContain("More than 5 of the 43 rows of clerk_users");
    expect(await deleted()).toHaveLength(0);
    expect(await findDrift()).toHaveLength(6);
    expect(await findDrift({ fix: true, yes: true })).toHaveLength(6);
    expect(await deleted()).toHaveLength(6);

    // A key for another instance may list no users at all.
    for (const id of kept) api.users.delete(id);
    expect(await rejection(findDrift({ fix: true }))).toContain("More than 5 of the 37 rows");
    expect(await deleted()).toHaveLength(6);
  });

  test("an event after a deletion by drift restores the row; an earlier event does not", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
    const [id, user] = [...api.users.entries()][0]!;
    const deletedAt = async () => (await rowsOf(effects, into[0]!))[id]?.["deleted_at"];
    const event = (at: number, first_name: string) =>
      writeEvent(effects, into[0]!, {
        object: { ...user, first_name, updated_at: at },
        deleted: false,
        at,
        delivery: `msg_${first_name}`,
      });
    api.users.delete(id);
    const before = Date.now() - 1_000;
    await findDrift({ fix: true });
    expect(await deletedAt()).toBeInstanceOf(Date);
    expect(await event(before, "Early")).toBe(true);
    expect(await deletedAt()).toBeInstanceOf(Date);
    expect(await event(Date.now() + 1_000, "Late")).toBe(true);
    expect(await deletedAt()).toBeNull();
    expect((await rowsOf(effects, into[0]!))[id]).toMatchObject({ first_name: "Late" });
    // A row that was deleted by an event stays deleted.
    const at = Date.now() + 2_000;
    await writeEvent(effects, into[0]!, {
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
    expect(await scene.findDrift()).toEqual([`clerk_organization_invitations extra ${id} `]);
  });

  test("a user deleted after the page was read is not a difference", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
    const id = [...api.users.values()].toSorted((a, b) => a.created_at - b.created_at)[0]!.id;
    const clerk = createThrottle({ rate: 1_000_000 });
    let isDeleted = false;
    const ask: Ask = async (call, requests) => {
      const answer = await clerk(call, requests);
      if (!isDeleted) {
        isDeleted = true;
        api.users.delete(id);
        await writeEvent(effects, into[0]!, {
          object: { id, object: "user", deleted: true },
          deleted: true,
          at: Date.now(),
          delivery: "msg_1",
        });
      }
      return answer;
    };
    expect(await findDrift({ ask })).toEqual([]);
  });

  test("changes of the last minute are ignored, because their events may still be in flight", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
    api.addUser({ updated_at: Date.now() });
    const [id, user] = [...api.users.entries()][0]!;
    const object = { ...user, first_name: "New", updated_at: Date.now() } as never;
    await writeEvent(effects, into[0]!, { object, deleted: false, at: Date.now(), delivery: "msg_1" });
    expect(await findDrift()).toEqual([]);
    expect((await rowsOf(effects, into[0]!))[id]).toMatchObject({ first_name: "New" });
  });

  test("deletions in Clerk between two pages do not make other users extra", async () => {
    await using scene = await filled(database);
    const { api, findDrift } = scene;
    const deleted = [...api.users.keys()].slice(0, 12);
    let requests = 0;
    api.before = ({ path }) => {
      if (path !== "/v1/users" || (requests += 1) !== 3) return;
      for (const id of deleted) api.users.delete(id);
    };
    const found = await findDrift();
    for (const line of found) expect(deleted).toContain(line.split(" ")[2]!);
  });

  test("a user who signs up after the last page was read is not extra", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
    const clerk = createThrottle({ rate: 1_000_000 });
    let signedUp = false;
    const ask: Ask = async (call, requests) => {
      const answer = await clerk(call, requests);
      const { path, query } = api.requests.findLast((request) => request.path === "/v1/users") ?? {};
      if (signedUp || path === undefined || Number(query?.get("offset")) < 40) return answer;
      signedUp = true;
      const object = api.addUser() as never;
      await writeEvent(effects, into[0]!, { object, deleted: false, at: Date.now(), delivery: "msg_1" });
      return answer;
    };
    expect(await findDrift({ ask })).toEqual([]);
    expect(signedUp).toBe(true);
  });

  test("additional columns are not changed", async () => {
    await using scene = await filled(database);
    const { api, effects, into, findDrift } = scene;
    await effects.sql.unsafe("alter table clerk_users add column plan text default 'free'");
    const [id] = [...api.users.keys()] as [string];
    await effects.sql`update clerk_users set plan = 'pro', first_name = 'wrong' where id = ${id}`;
    expect(await findDrift({ fix: true })).toEqual([`clerk_users different ${id} first_name`]);
    const [row] = await effects.sql`select plan from clerk_users where id = ${id}`;
    expect(row.plan).toBe("pro");
    expect(into).toHaveLength(4);
  });
});

/** Objects of each kind in Clerk and in the tables. */
async function filled(database: () => Promise<Database>): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const opened = stack.use(await database());
  const api = stack.use(await startClerkApi());
  const effects = await opened.open();
  const into = await mirrorIn(effects);
  const users = api.fill(43).map(({ id }) => id);
  // Users with the same created_at, so that page boundaries are between them.
  for (const id of users.slice(20, 32)) api.users.set(id, { ...api.users.get(id)!, created_at: 1_700_000_000_000 });
  for (let index = 0; index < 4; index += 1) {
    const { id } = api.addOrganization();
    api.addMembership(id, users[index]!);
    api.addInvitation(id);
    api.addInvitation(id, { status: "revoked" });
  }
  const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
  const options = { get, effects, into, ask: createThrottle({ rate: 1_000_000 }), pageSize: 7 };
  await backfill(options);
  const held = stack.move();
  return {
    api,
    effects,
    into,
    async findDrift({ fix = false, yes = false, ask = options.ask } = {}) {
      const found: Difference[] = [];
      const counts = await drift({ ...options, fix, yes, ask, onDifference: (difference) => found.push(difference) });
      expect(counts.reduce((sum, { differences }) => sum + differences, 0)).toBe(found.length);
      const format = ({ name, kind, id, fields }: Difference) =>
        `${name} ${kind} ${id} ${fields
          .map((field) => field.name)
          .toSorted()
          .join()}`;
      return found.map(format).toSorted();
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
