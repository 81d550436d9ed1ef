// Whatever comes in whatever order, as often as it likes, beside a backfill that is stopped and goes on: the rows are those
// of a model that sees everything at once.

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
import { mirrorIn, onBoth, rowsOf, type Said, tell } from "./databases.ts";

setDefaultTimeout(120_000);

const RUNS = 12;
const HOUR = 3_600_000;
const BEGIN = Date.now() - 24 * HOUR;

/** How the objects of a kind look, and where Clerk keeps them. */
const kinds: Record<
  string,
  { table: Table; make: (seed: number) => ClerkObject; at: (api: ClerkApi) => Map<string, never> }
> = {
  users: {
    table: users,
    make: (seed) => sample("user.created", { random: seeded(seed), now: BEGIN }).data,
    at: (api) => api.users as Map<string, never>,
  },
  organizations: {
    table: organizations,
    make: (seed) => sample("organization.created", { random: seeded(seed), now: BEGIN }).data,
    at: (api) => api.organizations as Map<string, never>,
  },
  memberships: {
    table: memberships,
    make: (seed) => sample("organizationMembership.created", { random: seeded(seed), now: BEGIN }).data,
    at: (api) => api.memberships as Map<string, never>,
  },
  invitations: {
    table: invitations,
    make: (seed) => sample("organizationInvitation.created", { random: seeded(seed), now: BEGIN }).data,
    at: (api) => api.invitations as Map<string, never>,
  },
};

/** What happens to one object: milliseconds between its changes, which may be none, and whether it is deleted in the end. */
const life = fc.record({
  gaps: fc.array(fc.oneof(fc.constant(0), fc.nat(5_000)), { maxLength: 5 }),
  deleted: fc.boolean(),
  /** Which of its events never came, by their place: those before the webhooks were there. */
  lost: fc.nat(3),
});
const histories = fc.record({
  seed: fc.nat(1_000_000),
  lives: fc.array(life, { minLength: 1, maxLength: 8 }),
  duplicates: fc.nat(3),
});

interface History {
  /** In the order in which they happened. */
  events: Said[];
  /** What Clerk has in the end. */
  left: ClerkObject[];
}

function play(
  make: (seed: number) => ClerkObject,
  { seed, lives }: { seed: number; lives: { gaps: number[]; deleted: boolean; lost: number }[] },
  complete: boolean,
): History {
  const events: Said[] = [];
  const left: ClerkObject[] = [];
  let number = 0;
  const event = (object: ClerkObject, at: number, deleted = false): Said => ({
    object,
    at,
    deleted,
    delivery: `msg_${String((number += 1)).padStart(4, "0")}`,
  });
  lives.forEach(({ gaps, deleted, lost }, index) => {
    let at = BEGIN + index * HOUR;
    let object: ClerkObject = { ...make(seed * 10 + index), created_at: at, updated_at: at };
    const mine = [event(object, at)];
    gaps.forEach((gap, change) => {
      at += gap;
      object = { ...object, updated_at: at, public_metadata: { change, private_metadata: "\0\ud800" } };
      mine.push(event(object, at));
    });
    if (deleted) mine.push(event({ object: object["object"], id: object["id"], deleted: true }, at + 1, true));
    else left.push(object);
    events.push(...(complete ? mine : mine.slice(deleted ? Math.min(lost, mine.length - 1) : lost)));
  });
  return { events, left };
}

/** What the table has to hold when all of these have been said. */
function model({ table, kept }: MirrorTable, events: readonly Said[]): Record<string, Row> {
  const rows: Record<string, Row> = {};
  const order = ({ object, at, delivery }: Said) => [Number(object["updated_at"] ?? at), at, delivery] as const;
  const later = (a: Said, b: Said) => (Bun.deepEquals(order(a), order(b)) ? 0 : less(order(a), order(b)) ? -1 : 1);
  for (const [id, all] of Map.groupBy(events, ({ object }) => object["id"] as string)) {
    const states = all.filter(({ deleted }) => !deleted).toSorted(later);
    const deletion = all.filter(({ deleted }) => deleted).at(-1);
    const object = (states.at(-1) ?? deletion)?.object ?? {};
    rows[id] = { ...readRow(table, object, kept), deleted_at: deletion ? new Date(deletion.at) : null };
  }
  return rows;
}

function less(a: readonly (string | number)[], b: readonly (string | number)[]): boolean {
  const place = a.findIndex((part, index) => part !== b[index]);
  return place >= 0 && a[place]! < b[place]!;
}

function shuffled<T>(list: readonly T[], seed: number): T[] {
  const random = seeded(seed);
  return list
    .map((each) => [random(), each] as const)
    .toSorted(([a], [b]) => a - b)
    .map(([, each]) => each);
}

onBoth((database) => {
  test.each(Object.keys(kinds))("events of %s in any order, any of them twice, end in the same rows", async (kind) => {
    const { table, make } = kinds[kind]!;
    await using opened = await database();
    const effects = await opened.open();
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const [to] = (await mirrorIn(effects, { only: [table] })) as [MirrorTable];
        await effects.sql.unsafe(`delete from ${to.name}`);
        const { events } = play(make, history, true);
        const twice = events.slice(0, history.duplicates);
        await Promise.all(shuffled([...events, ...twice], history.seed).map((said) => tell(effects, to, said)));
        expect(await rowsOf(effects, to)).toEqual(model(to, events));
      }),
      { numRuns: RUNS },
    );
  });

  test.each(Object.keys(kinds))(
    "%s whose first events never came are right after a backfill, stopped and begun again beside live events",
    async (kind) => {
      const { table, make, at } = kinds[kind]!;
      await using opened = await database();
      await fc.assert(
        fc.asyncProperty(histories, fc.nat(3), async (history, stopAfter) => {
          await using api = await startClerkApi();
          const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
          const effects = await opened.open();
          const [to] = (await mirrorIn(effects, { only: [table] })) as [MirrorTable];
          await effects.sql.unsafe(`delete from ${to.name}`);
          const { events, left } = play(make, history, false);
          for (const object of left) at(api).set(object["id"] as string, object as never);
          if (table === invitations)
            for (const { organization_id: id } of left) api.addOrganization({ id: id as string });

          const stop = new AbortController();
          let pages = 0;
          const options = { clerk, effects, into: [to], ask: createThrottle({ rate: 1_000_000 }), pageSize: 2 };
          const stopped = backfill({
            ...options,
            restart: true,
            signal: stop.signal,
            onProgress: () => void ((pages += 1) > stopAfter && stop.abort()),
          }).catch((error: unknown) => {
            if (!stop.signal.aborted) throw error;
          });
          const live = shuffled(events, history.seed).map(async (said, index) => {
            await Bun.sleep(index % 4);
            await tell(effects, to, said);
          });
          await Promise.all([stopped, ...live]);
          await backfill(options);

          const rows = await rowsOf(effects, to);
          const expected = model(to, events);
          for (const object of left)
            expected[object["id"] as string] = { ...readRow(table, object, to.kept), deleted_at: null };
          expect(rows).toEqual(expected);
          await effects.close();
        }),
        { numRuns: RUNS },
      );
    },
  );
});
