// `backfill` with Clerk's client and a stand-in for Clerk's API, whose data changes meanwhile.

import { expect, setDefaultTimeout, test } from "bun:test";

import { createRequests } from "../../src/clerk/requests.ts";
import type { Effects } from "../../src/db/effects.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { drift } from "../../src/mirror/drift.ts";
import type { ClerkObject } from "../../src/mirror/table.ts";
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
  options: Parameters<typeof backfill>[0];
}

onBoth((database) => {
  test("copies existing objects of all four kinds", async () => {
    await using scene = await open(database);
    const { api, effects, into, options } = scene;
    api.fill(1_203);
    const [first] = [...api.users.keys()];
    for (let index = 0; index < 3; index += 1) {
      const { id } = api.addOrganization();
      api.addMembership(id, first!);
      for (let invitation = 0; invitation < 2; invitation += 1) api.addInvitation(id);
    }
    expect(await backfill(options)).toEqual({
      clerk_users: expect.any(Number),
      clerk_organizations: 3,
      clerk_organization_memberships: 3,
      clerk_organization_invitations: 6,
    });
    const counts = await Promise.all(into.map(async (to) => Object.keys(await rowsOf(effects, to)).length));
    expect(counts).toEqual([1_203, 3, 3, 6]);
  });

  test("an instance without Organizations has empty tables and no drift", async () => {
    await using scene = await open(database, { withoutOrganizations: true });
    const { api, options } = scene;
    api.fill(7);
    expect(await backfill(options)).toEqual({
      clerk_users: 7,
      clerk_organizations: 0,
      clerk_organization_memberships: 0,
      clerk_organization_invitations: 0,
    });
    const counts = await drift({ ...options, onDifference: () => undefined });
    expect(counts.map(({ compared, differences }) => [compared, differences])).toEqual([
      [7, 0],
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
  });

  test("continues where it was stopped", async () => {
    await using scene = await open(database, { pageSize: 10 });
    const { api, effects, into, options } = scene;
    api.fill(95);
    const stop = new AbortController();
    let pages = 0;
    const onProgress = () => void ((pages += 1) === 4 && stop.abort(new Error("stopped")));
    expect(await rejection(backfill({ ...options, signal: stop.signal, onProgress }))).toBe("stopped");
    expect(await count(effects, into[0]!)).toBeWithin(37, 41);
    api.requests.length = 0;
    await backfill(options);
    expect(await count(effects, into[0]!)).toBe(95);
    const offsets = api.requests.filter(({ path }) => path === "/v1/users").map(({ query }) => query.get("offset"));
    expect(Number(offsets[0])).toBeGreaterThan(30);
  });

  test("deletions in Clerk between two pages do not make it skip other users", async () => {
    await using scene = await open(database, { pageSize: 10 });
    const { api, effects, into, options } = scene;
    const all = api.fill(60).map(({ id }) => id);
    const deleted = new Set(all.slice(0, 25));
    let requests = 0;
    api.before = ({ path }) => {
      if (path !== "/v1/users" || (requests += 1) !== 4) return;
      for (const id of deleted) api.users.delete(id);
    };
    await backfill({ ...options, into: into.slice(0, 1) });
    const rows = await rowsOf(effects, into[0]!);
    for (const id of all) if (!deleted.has(id)) expect(rows[id], id).toBeDefined();
  });

  test("continues after an organization that is deleted before its invitations are read", async () => {
    await using scene = await open(database);
    const { api, effects, into, options } = scene;
    const [deleted, kept] = [api.addOrganization(), api.addOrganization()];
    api.addInvitation(deleted.id);
    api.addInvitation(kept.id);
    api.before = ({ path }) => {
      if (path === `/v1/organizations/${deleted.id}/invitations`) api.organizations.delete(deleted.id);
    };
    const invitations = into.filter(({ name }) => name === "clerk_organization_invitations");
    await backfill({ ...options, into: invitations });
    expect(await count(effects, invitations[0]!)).toBe(1);
  });

  test("deletions between two pages do not make it skip users with the same created_at", async () => {
    await using scene = await open(database, { pageSize: 10 });
    const { api, effects, into, options } = scene;
    const at = Date.parse("2020-01-01");
    const all = Array.from({ length: 40 }, () => api.addUser({ created_at: at, updated_at: at }).id);
    const deleted = new Set(all.slice(0, 5));
    let requests = 0;
    api.before = ({ path }) => {
      if (path !== "/v1/users" || (requests += 1) !== 2) return;
      for (const id of deleted) api.users.delete(id);
    };
    await backfill({ ...options, into: into.slice(0, 1) });
    const rows = await rowsOf(effects, into[0]!);
    expect(all.filter((id) => !deleted.has(id) && !rows[id])).toEqual([]);
  });

  test("a user deleted between the read of a page and its write stays deleted", async () => {
    let afterRead = async () => {};
    const ask: Ask = async (call) => {
      const answer = await call();
      await afterRead();
      return answer;
    };
    await using scene = await open(database, { ask });
    const { api, effects, into, options } = scene;
    const { id } = api.addUser();
    const deletion = { object: { id, object: "user", deleted: true }, deleted: true, delivery: "msg_1" };
    afterRead = async () => void (await writeEvent(effects, into[0]!, { ...deletion, at: Date.now() }));
    await backfill({ ...options, into: into.slice(0, 1) });
    expect((await rowsOf(effects, into[0]!))[id]).toMatchObject({
      deleted_at: expect.any(Date),
      email: expect.any(String),
    });
  });

  test("restores a row with a wrong deletion, and a late copy of the event does not delete it again", async () => {
    await using scene = await open(database);
    const { api, effects, into, options } = scene;
    const [to] = into as [MirrorTable];
    const user = api.addUser() as unknown as ClerkObject;
    const deletion = { object: user, deleted: true, at: Date.now() - 3_600_000, delivery: "msg_1" };
    await writeEvent(effects, to, deletion);
    const isDeleted = async () => (await rowsOf(effects, to))[user["id"] as string]?.["deleted_at"] !== null;
    expect(await isDeleted()).toBe(true);
    await backfill(options);
    expect(await isDeleted()).toBe(false);
    await writeEvent(effects, to, deletion);
    expect(await isDeleted()).toBe(false);
    await writeEvent(effects, to, { ...deletion, at: Date.now(), delivery: "msg_2" });
    expect(await isDeleted()).toBe(true);
  });

  test("does not overwrite an event that is later than the page", async () => {
    await using scene = await open(database);
    const { api, effects, into, options } = scene;
    const user = api.addUser({ first_name: "Old" });
    const updated_at = user.updated_at + 1;
    const object = { ...user, first_name: "New", updated_at } as unknown as ClerkObject;
    await writeEvent(effects, into[0]!, { object, deleted: false, at: updated_at, delivery: "msg_1" });
    await backfill(options);
    expect((await rowsOf(effects, into[0]!))[user.id]).toMatchObject({ first_name: "New" });
  });
});

async function open(
  database: () => Promise<Database>,
  { withoutOrganizations = false, ...more }: { pageSize?: number; ask?: Ask; withoutOrganizations?: boolean } = {},
): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const opened = stack.use(await database());
  const api = stack.use(await startClerkApi({ withoutOrganizations }));
  const effects = await opened.open();
  const into = await mirrorIn(effects);
  const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
  const options = { get, effects, into, ask: createThrottle({ rate: 1_000_000 }), ...more };
  const held = stack.move();
  return { api, effects, into, options, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

async function count(effects: Effects, to: MirrorTable): Promise<number> {
  return Object.keys(await rowsOf(effects, to)).length;
}
