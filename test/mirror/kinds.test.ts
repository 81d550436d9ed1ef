// Backfill and drift of billing, sessions, roles, permissions, domains and waitlist entries, which Clerk's API lists in
// ways of their own, with a stand-in for that API.

import { expect, setDefaultTimeout, test } from "bun:test";

import { mirror } from "bellhop/mirror";
import { testBellhop } from "bellhop/test";

import { eventNames, type KnownEventName } from "../../src/clerk/events.ts";
import { createRequests } from "../../src/clerk/requests.ts";
import { sample } from "../../src/clerk/samples.ts";
import type { Effects } from "../../src/db/effects.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { type Difference, drift } from "../../src/mirror/drift.ts";
import { newestFirst } from "../../src/mirror/lists.ts";
import type { ClerkObject, Row, TableName } from "../../src/mirror/table.ts";
import { DEFAULT_TABLES, tables } from "../../src/mirror/tables.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import { type ClerkApi, startClerkApi } from "../clerk-api.ts";
import { type Database, mirrorIn, onBoth, rowsOf, writeEvent } from "./databases.ts";

setDefaultTimeout(60_000);

const AT = Date.parse("2026-02-01");
const only = tables.filter(({ name }) => !DEFAULT_TABLES.includes(name));

onBoth((database) => {
  test("copies existing objects of each kind, page by page", async () => {
    await using scene = await open(database);
    fill(scene.api);
    expect(await backfill(scene.options)).toEqual({
      clerk_organization_domains: expect.any(Number),
      clerk_roles: expect.any(Number),
      clerk_permissions: expect.any(Number),
      clerk_subscriptions: 5,
      clerk_subscription_items: expect.any(Number),
      clerk_payment_attempts: 5,
      clerk_sessions: 6,
      clerk_waitlist_entries: expect.any(Number),
    });
    for (const to of scene.into) {
      const rows = Object.values(await rowsOf(scene.effects, to));
      expect(rows, to.name).toHaveLength(to.name === "clerk_sessions" ? 6 : 5);
      for (const row of rows) expect(row["raw"]).toMatchObject({ id: row["id"] });
    }
    const subscriptions = Object.values(await scene.rows("subscriptions"));
    expect(subscriptions.filter((row) => row["user_id"] !== null)).toHaveLength(3);
    expect(subscriptions.filter((row) => row["organization_id"] !== null)).toHaveLength(2);
    expect(await scene.findDrift()).toEqual([]);
  });

  test("finds no drift between events and the API, although they have different properties", async () => {
    await using scene = await open(database);
    for (const [name, kind, event] of [
      ["subscription_items", "subscriptionItems", "subscriptionItem.created"],
      ["payment_attempts", "paymentAttempts", "paymentAttempt.created"],
      ["organization_domains", "domains", "organizationDomain.created"],
      ["roles", "roles", "role.created"],
      ["waitlist_entries", "waitlistEntries", "waitlistEntry.created"],
    ] as const) {
      const object = await scene.event(name, event, AT);
      scene.api.put(kind, object);
    }
    const subscription = await scene.event("subscriptions", "subscription.created", AT);
    const { user_id, organization_id } = scene.api.put("subscriptions", subscription);
    if (user_id) scene.api.addUser({ id: user_id as string });
    else scene.api.addOrganization({ id: organization_id as string });
    expect(await scene.findDrift()).toEqual([]);
  });

  test("a backfill keeps what only events have, until it reads a later state", async () => {
    await using scene = await open(database);
    const attempt = await scene.event("payment_attempts", "paymentAttempt.created", AT);
    const id = attempt["id"] as string;
    scene.api.put("paymentAttempts", attempt);
    await backfill(scene.options);
    expect((await scene.rows("payment_attempts"))[id]).toMatchObject({
      status: "pending",
      billing_date: expect.any(Date),
      raw: attempt,
    });
    scene.api.put("paymentAttempts", { ...attempt, status: "paid", paid_at: AT + 5, updated_at: AT + 5 });
    await backfill({ ...scene.options, restart: true });
    expect((await scene.rows("payment_attempts"))[id]).toMatchObject({ status: "paid", paid_at: new Date(AT + 5) });
    // The event about that state arrives late.
    const paid = { ...attempt, status: "paid", paid_at: AT + 5, updated_at: AT + 5 };
    await scene.write("payment_attempts", paid, AT + 5);
    expect((await scene.rows("payment_attempts"))[id]).toMatchObject({ status: "paid", raw: paid });
    await scene.write("payment_attempts", attempt, AT);
    expect((await scene.rows("payment_attempts"))[id]).toMatchObject({ status: "paid", raw: paid });
  });

  test("reports and repairs missing, extra and different rows", async () => {
    await using scene = await open(database);
    const { api } = scene;
    fill(api);
    await backfill(scene.options);
    const [gone, changed] = [...api.roles.values()] as unknown as [ClerkObject, ClerkObject];
    api.roles.delete(gone["id"] as string);
    api.roles.set(changed["id"] as string, { ...changed, name: "Renamed" } as never);
    const [domain] = [...api.domains.keys()] as [string];
    api.domains.delete(domain);
    const [entry] = [...api.waitlistEntries.keys()] as [string];
    api.waitlistEntries.delete(entry);
    const [permission] = [...api.permissions.keys()] as [string];
    await scene.effects.sql`delete from clerk_permissions where id = ${permission}`;
    const [item] = [...api.subscriptionItems.values()];
    api.subscriptionItems.set(item!.id, { ...item!, status: "past_due" });
    const found = [
      `clerk_organization_domains extra ${domain} `,
      `clerk_permissions missing ${permission} `,
      `clerk_roles different ${String(changed["id"])} name`,
      `clerk_roles extra ${String(gone["id"])} `,
      `clerk_subscription_items different ${item!.id} status`,
      `clerk_waitlist_entries extra ${entry} `,
    ].toSorted();
    expect(await scene.findDrift({ fix: true })).toEqual(found);
    expect(await scene.findDrift()).toEqual([]);
  });

  test("sessions that Clerk has removed, and activity without an event, are not drift", async () => {
    await using scene = await open(database);
    fill(scene.api);
    await backfill(scene.options);
    const [removed, active, expired] = [...scene.api.sessions.values()];
    scene.api.sessions.delete(removed!.id);
    scene.api.sessions.set(active!.id, { ...active!, last_active_at: AT, updated_at: AT });
    scene.api.sessions.set(expired!.id, { ...expired!, status: "expired" });
    expect(await scene.findDrift()).toEqual([`clerk_sessions different ${expired!.id} status`]);
  });

  test("an instance without billing data, roles and so on has empty tables and no drift", async () => {
    await using scene = await open(database, { withoutOrganizations: true });
    scene.api.addUser();
    expect(Object.values(await backfill(scene.options))).toEqual(only.map(() => 0));
    expect(await scene.findDrift()).toEqual([]);
  });
});

test("writes one row for each kind of object from its events", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror({ tables: tables.map(({ name }) => name) }) } });
  for (const type of eventNames) {
    const { runs } = await bellhop.deliver(type);
    expect(runs["*"], type).toMatchObject({ state: "done", log: [] });
  }
  const count = async (table: string) => (await bellhop.db.unsafe(`select count(*) as n from ${table}`))[0].n;
  for (const { name, kind } of tables) {
    const events = eventNames.filter((type) => type.startsWith(`${kind}.`));
    expect(await count(`clerk_${name}`), name).toBe(events.length);
  }
  // Samples of deletions are about objects that were never created; the rows have only what such an event has.
  expect([...(await bellhop.db`select id, key from clerk_roles where deleted_at is not null`)]).toMatchObject([
    { id: expect.stringMatching(/^role_/), key: null },
  ]);
});

test("a list that is always newest first is read from its end, also when it grows meanwhile", async () => {
  await using api = await startClerkApi();
  const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
  const ids = Array.from({ length: 5 }, () => api.add("subscriptionItems").id);
  const { list } = newestFirst("/billing/subscription_items", { include_free: true });
  const read = async (limit: number, offset: number) =>
    (await list(get, { limit, offset })).objects.map(({ id }) => id);
  expect(await read(2, 0)).toEqual(ids.slice(0, 2));
  expect(await read(2, 4)).toEqual(ids.slice(4));
  expect(await read(10, 1)).toEqual(ids.slice(1));
  expect(await read(10, 5)).toEqual([]);
  let requests = 0;
  api.before = () => void ((requests += 1) === 2 && api.add("subscriptionItems"));
  expect(await read(3, 0)).toEqual(ids.slice(0, 3));
  expect(requests).toBe(4);
});

/** Five objects of each kind, and six sessions of three users. */
function fill(api: ClerkApi) {
  const users = api.fill(3).map(({ id }) => id);
  const organizations = [api.addOrganization(), api.addOrganization()].map(({ id }) => id);
  for (const user_id of users) for (let index = 0; index < 2; index += 1) api.add("sessions", { user_id });
  const payers = [...users, ...organizations];
  for (const [index, id] of payers.entries()) {
    const { data } = sample("subscription.created");
    const [user_id, organization_id] = id.startsWith("user_") ? [id, ""] : ["", id];
    api.add("subscriptions", { ...data, payer: { ...data.payer, user_id, organization_id }, created_at: AT });
    api.add("paymentAttempts", { statement_id: `stmt_${index % 2}` });
    api.add("domains", { organization_id: organizations[0] });
    for (const kind of ["roles", "permissions", "waitlistEntries", "subscriptionItems"] as const) api.add(kind);
  }
}

async function open(database: () => Promise<Database>, { withoutOrganizations = false } = {}) {
  await using stack = new AsyncDisposableStack();
  const opened = stack.use(await database());
  const api = stack.use(await startClerkApi({ withoutOrganizations }));
  const effects: Effects = await opened.open();
  const into = await mirrorIn(effects, { only });
  const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
  const options = { get, effects, into, ask: createThrottle({ rate: 1_000_000 }), pageSize: 2 };
  const held = stack.move();
  const tableOf = (name: TableName): MirrorTable => into.find(({ table }) => table.name === name)!;
  let deliveries = 0;
  const write = (name: TableName, object: ClerkObject, at: number) =>
    writeEvent(effects, tableOf(name), { object, deleted: false, at, delivery: `msg_${(deliveries += 1)}` });
  return {
    api,
    effects,
    into,
    options,
    write,
    /** Writes the sample of an event, and returns its object. */
    async event(name: TableName, type: KnownEventName, at: number): Promise<ClerkObject> {
      const object = { ...sample(type).data, created_at: at, updated_at: at } as unknown as ClerkObject;
      await write(name, object, at);
      return object;
    },
    rows: (name: TableName): Promise<Record<string, Row>> => rowsOf(effects, tableOf(name)),
    async findDrift({ fix = false } = {}): Promise<string[]> {
      const found: string[] = [];
      const onDifference = ({ name, kind, id, fields }: Difference) =>
        void found.push(`${name} ${kind} ${id} ${fields.map((field) => field.name).join()}`);
      await drift({ ...options, fix, onDifference });
      return found.toSorted();
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
