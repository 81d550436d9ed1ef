// Histories of Clerk's objects, of every kind, and the rows that a simple model computes from them.

import fc from "fast-check";

import type { KnownEventName } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { type ClerkObject, readRow, type Row, type Table, type TableName } from "../../src/mirror/table.ts";
import { tables } from "../../src/mirror/tables.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import type { Kind as ObjectKind } from "../clerk-api-objects.ts";
import { type ClerkApi } from "../clerk-api.ts";
import { seeded } from "../random.ts";
import { type MirrorEvent } from "./databases.ts";

export const RUNS = 4;
const HOUR = 3_600_000;
const START = Date.now() - 24 * HOUR;

export interface Kind {
  table: Table;
  event: KnownEventName;
  /** Adds an object to the stand-in for Clerk. Returns it as Clerk's API sends it. */
  add: (api: ClerkApi, object: ClerkObject) => ClerkObject;
}

const [users, organizations, memberships, invitations] = ["users", "organizations", "memberships", "invitations"].map(
  (name) => (api: ClerkApi, object: ClerkObject) => {
    (api[name as "users"] as Map<string, unknown>).set(object["id"] as string, object);
    if (name === "invitations") api.addOrganization({ id: object["organization_id"] as string });
    return object;
  },
) as [Kind["add"], Kind["add"], Kind["add"], Kind["add"]];
const put =
  (kind: ObjectKind): Kind["add"] =>
  (api, object) =>
    api.put(kind, object);

const kinds: Record<TableName, Omit<Kind, "table">> = {
  users: { event: "user.created", add: users },
  organizations: { event: "organization.created", add: organizations },
  organization_memberships: { event: "organizationMembership.created", add: memberships },
  organization_invitations: { event: "organizationInvitation.created", add: invitations },
  organization_domains: { event: "organizationDomain.created", add: put("domains") },
  roles: { event: "role.created", add: put("roles") },
  permissions: { event: "permission.created", add: put("permissions") },
  subscriptions: {
    event: "subscription.created",
    add(api, object) {
      const { user_id, organization_id, ...found } = api.put("subscriptions", object);
      if (user_id) api.addUser({ id: user_id as string });
      else api.addOrganization({ id: organization_id as string });
      return { payer: { id: found["payer_id"], user_id, organization_id }, ...found };
    },
  },
  subscription_items: { event: "subscriptionItem.created", add: put("subscriptionItems") },
  payment_attempts: { event: "paymentAttempt.created", add: put("paymentAttempts") },
  sessions: {
    event: "session.created",
    add(api, object) {
      api.addUser({ id: object["user_id"] as string });
      return api.put("sessions", object);
    },
  },
  waitlist_entries: { event: "waitlistEntry.created", add: put("waitlistEntries") },
};
export const all = tables.map((table) => [table.name, { table, ...kinds[table.name] }] as const);

function makeObject({ event }: Kind, seed: number): ClerkObject {
  return sample(event, { random: seeded(seed), now: START }).data;
}

/** The history of one object. */
const objectHistory = fc.record({
  /** Milliseconds between its changes; 0 for changes in the same millisecond. */
  gaps: fc.array(fc.oneof(fc.constant(0), fc.nat(5_000)), { maxLength: 5 }),
  deleted: fc.boolean(),
  /** The number of events before the webhook was set up, which never arrive. */
  lost: fc.nat(3),
});
export const histories = fc.record({
  seed: fc.nat(1_000_000),
  objects: fc.array(objectHistory, { minLength: 1, maxLength: 8 }),
  duplicates: fc.nat(3),
});

interface History {
  /** In chronological order. */
  events: MirrorEvent[];
  /** The objects that Clerk has at the end. */
  remaining: ClerkObject[];
}

/** Builds the history of several objects, without their lost events unless it is `complete`. */
export function buildHistory(
  kind: Kind,
  { seed, objects }: { seed: number; objects: { gaps: number[]; deleted: boolean; lost: number }[] },
  complete: boolean,
): History {
  const events: MirrorEvent[] = [];
  const remaining: ClerkObject[] = [];
  let number = 0;
  const eventOf = (object: ClerkObject, at: number, deleted = false): MirrorEvent => ({
    object,
    at,
    deleted,
    delivery: `msg_${String((number += 1)).padStart(4, "0")}`,
  });
  objects.forEach(({ gaps, deleted, lost }, index) => {
    let at = START + index * HOUR;
    let object: ClerkObject = { ...makeObject(kind, seed * 10 + index), created_at: at, updated_at: at };
    const ownEvents = [eventOf(object, at)];
    gaps.forEach((gap, change) => {
      at += gap;
      object = { ...object, updated_at: at, public_metadata: { change, private_metadata: "\0\ud800" } };
      ownEvents.push(eventOf(object, at));
    });
    if (deleted) ownEvents.push(eventOf({ object: object["object"], id: object["id"], deleted: true }, at + 1, true));
    else remaining.push(object);
    // A deletion always arrives: a backfill would not find the object.
    events.push(...(complete ? ownEvents : ownEvents.slice(deleted ? Math.min(lost, ownEvents.length - 1) : lost)));
  });
  return { events, remaining };
}

/** The rows that the table must have after all of these events, and after objects were read from Clerk's API. */
export function expectedRows(
  { table, kept }: MirrorTable,
  events: readonly MirrorEvent[],
  read: readonly ClerkObject[] = [],
): Record<string, Row> {
  const rows: Record<string, Row> = {};
  const order = ({ object, at, delivery }: MirrorEvent) => [Number(object["updated_at"] ?? at), at, delivery] as const;
  const compare = (a: MirrorEvent, b: MirrorEvent) =>
    Bun.deepEquals(order(a), order(b)) ? 0 : isLess(order(a), order(b)) ? -1 : 1;
  // Where events have more than the API, an event about the same state wins, otherwise what was read.
  const at = table.eventsHaveMore ? 0 : Infinity;
  const reads = read.map((object) => ({ object, at, deleted: false, delivery: "read" }));
  for (const [id, all] of Map.groupBy([...events, ...reads], ({ object }) => object["id"] as string)) {
    const states = all.filter(({ deleted }) => !deleted).toSorted(compare);
    const deletion = all.filter(({ deleted }) => deleted).at(-1);
    const object = (states.at(-1) ?? deletion)?.object ?? {};
    rows[id] = { ...readRow(table, object, kept), deleted_at: deletion ? new Date(deletion.at) : null };
  }
  return rows;
}

function isLess(a: readonly (string | number)[], b: readonly (string | number)[]): boolean {
  const index = a.findIndex((part, index) => part !== b[index]);
  return index >= 0 && a[index]! < b[index]!;
}

export function shuffled<T>(list: readonly T[], seed: number): T[] {
  const random = seeded(seed);
  return list
    .map((item) => [random(), item] as const)
    .toSorted(([a], [b]) => a - b)
    .map(([, item]) => item);
}
