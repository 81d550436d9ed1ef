// Events in any order, duplicates, and a backfill that is interrupted and continued end in the rows that a simple model
// computes from the complete history.

import { expect, setDefaultTimeout, test } from "bun:test";

import { createClerkClient } from "@clerk/backend";
import fc from "fast-check";

import { sample } from "../../src/clerk/samples.ts";
import { backfill } from "../../src/mirror/backfill.ts";
import { invitations } from "../../src/mirror/invitations.ts";
import { memberships } from "../../src/mirror/memberships.ts";
import { organizations } from "../../src/mirror/organizations.ts";
import { type ClerkObject, readRow, type Row, type Table } from "../../src/mirror/table.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import { users } from "../../src/mirror/users.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import { type ClerkApi, startClerkApi } from "../clerk-api.ts";
import { seeded } from "../random.ts";
import { type MirrorEvent, mirrorIn, onBoth, rowsOf, writeEvent } from "./databases.ts";

setDefaultTimeout(120_000);

const RUNS = 12;
const HOUR = 3_600_000;
const START = Date.now() - 24 * HOUR;

/** The table of each kind of object, its samples, and its rows in the stand-in for Clerk. */
const kinds: Record<
  string,
  { table: Table; make: (seed: number) => ClerkObject; rows: (api: ClerkApi) => Map<string, never> }
> = {
  users: {
    table: users,
    make: (seed) => sample("user.created", { random: seeded(seed), now: START }).data,
    rows: (api) => api.users as Map<string, never>,
  },
  organizations: {
    table: organizations,
    make: (seed) => sample("organization.created", { random: seeded(seed), now: START }).data,
    rows: (api) => api.organizations as Map<string, never>,
  },
  memberships: {
    table: memberships,
    make: (seed) => sample("organizationMembership.created", { random: seeded(seed), now: START }).data,
    rows: (api) => api.memberships as Map<string, never>,
  },
  invitations: {
    table: invitations,
    make: (seed) => sample("organizationInvitation.created", { random: seeded(seed), now: START }).data,
    rows: (api) => api.invitations as Map<string, never>,
  },
};

/** The history of one object. */
const objectHistory = fc.record({
  /** Milliseconds between its changes; 0 for changes in the same millisecond. */
  gaps: fc.array(fc.oneof(fc.constant(0), fc.nat(5_000)), { maxLength: 5 }),
  deleted: fc.boolean(),
  /** The number of events before the webhook was set up, which never arrive. */
  lost: fc.nat(3),
});
const histories = fc.record({
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
function buildHistory(
  make: (seed: number) => ClerkObject,
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
    let object: ClerkObject = { ...make(seed * 10 + index), created_at: at, updated_at: at };
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

/** The rows that the table must have after all of these events. */
function expectedRows({ table, kept }: MirrorTable, events: readonly MirrorEvent[]): Record<string, Row> {
  const rows: Record<string, Row> = {};
  const order = ({ object, at, delivery }: MirrorEvent) => [Number(object["updated_at"] ?? at), at, delivery] as const;
  const compare = (a: MirrorEvent, b: MirrorEvent) =>
    Bun.deepEquals(order(a), order(b)) ? 0 : isLess(order(a), order(b)) ? -1 : 1;
  for (const [id, all] of Map.groupBy(events, ({ object }) => object["id"] as string)) {
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

function shuffled<T>(list: readonly T[], seed: number): T[] {
  const random = seeded(seed);
  return list
    .map((item) => [random(), item] as const)
    .toSorted(([a], [b]) => a - b)
    .map(([, item]) => item);
}

onBoth((database) => {
  test.each(Object.keys(kinds))("events of %s in any order, with duplicates, end in the same rows", async (kind) => {
    const { table, make } = kinds[kind]!;
    await using opened = await database();
    const effects = await opened.open();
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const [to] = (await mirrorIn(effects, { only: [table] })) as [MirrorTable];
        await effects.sql.unsafe(`delete from ${to.name}`);
        const { events } = buildHistory(make, history, true);
        const duplicates = events.slice(0, history.duplicates);
        const arrivals = shuffled([...events, ...duplicates], history.seed);
        await Promise.all(arrivals.map((event) => writeEvent(effects, to, event)));
        expect(await rowsOf(effects, to)).toEqual(expectedRows(to, events));
      }),
      { numRuns: RUNS },
    );
  });

  test.each(Object.keys(kinds))(
    "a backfill restores %s with lost events, even when it is interrupted and events arrive meanwhile",
    async (kind) => {
      const { table, make, rows } = kinds[kind]!;
      await using opened = await database();
      await fc.assert(
        fc.asyncProperty(histories, fc.nat(3), async (history, stopAfter) => {
          await using api = await startClerkApi();
          const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
          const effects = await opened.open();
          const [to] = (await mirrorIn(effects, { only: [table] })) as [MirrorTable];
          await effects.sql.unsafe(`delete from ${to.name}`);
          const { events, remaining } = buildHistory(make, history, false);
          for (const object of remaining) rows(api).set(object["id"] as string, object as never);
          if (table === invitations)
            for (const { organization_id: id } of remaining) api.addOrganization({ id: id as string });

          const stop = new AbortController();
          let pages = 0;
          const options = { clerk, effects, into: [to], ask: createThrottle({ rate: 1_000_000 }), pageSize: 2 };
          const interrupted = backfill({
            ...options,
            restart: true,
            signal: stop.signal,
            onProgress: () => void ((pages += 1) > stopAfter && stop.abort()),
          }).catch((error: unknown) => {
            if (!stop.signal.aborted) throw error;
          });
          const live = shuffled(events, history.seed).map(async (event, index) => {
            await Bun.sleep(index % 4);
            await writeEvent(effects, to, event);
          });
          await Promise.all([interrupted, ...live]);
          await backfill(options);

          const expected = expectedRows(to, events);
          for (const object of remaining)
            expected[object["id"] as string] = { ...readRow(table, object, to.kept), deleted_at: null };
          expect(await rowsOf(effects, to)).toEqual(expected);
          await effects.close();
        }),
        { numRuns: RUNS },
      );
    },
  );
});
