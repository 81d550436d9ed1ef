import { describe, expect, test } from "bun:test";

import type { UserJSON } from "@clerk/backend";
import fc from "fast-check";

import { describeMismatch } from "../../src/clerk/check.ts";
import { eventNames, isEvent, type ReceivedEvent, subjectOf } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { mergeDeep } from "../../src/clerk/samples/merge.ts";

const NOW = Date.UTC(2026, 1, 3, 4, 5, 6);

describe.each([...eventNames])("a sample of %s", (name) => {
  const samples = seeded(40).map((random) => sample(name, { now: NOW, random }));

  test("fits Clerk's specification, whatever chance brings", () => {
    for (const event of samples) {
      expect(event.type).toBe(name);
      expect(isEvent(event)).toBe(true);
      expect(describeMismatch(name, event.data)).toEqual([]);
    }
  });

  test("has a subject of its own, shaped like Clerk's ids", () => {
    for (const event of samples) expect(subjectOf(event)).toMatch(/^[a-z]+(_[a-z]+)?_[0-9A-Za-z]{27}$/);
    expect(new Set(samples.map(subjectOf)).size).toBe(samples.length);
  });

  test("tells its times in milliseconds, none of them from before it was made", () => {
    for (const event of samples) {
      const { created_at, updated_at } = event.data as ReceivedEvent["data"] & {
        created_at?: number;
        updated_at?: number;
      };
      expect(event.timestamp).toBe(NOW);
      if (updated_at !== undefined) expect(updated_at).toBe(NOW);
      if (created_at === undefined) continue;
      expect(created_at).toBeGreaterThan(NOW - 100 * 86_400_000);
      if (name.endsWith(".created") || name === "session.pending") expect(created_at).toBe(NOW);
      else expect(created_at).toBeLessThan(NOW);
    }
  });

  test("says so when its object was deleted, and hardly more", () => {
    if (!name.endsWith(".deleted") || name === "organizationMembership.deleted") return;
    for (const { data } of samples) {
      const { slug: _, ...rest } = data as ReceivedEvent["data"];
      expect(rest).toEqual({ object: expect.any(String), id: expect.any(String), deleted: true });
    }
  });

  test("survives the way through JSON unchanged", () => {
    for (const event of samples) expect(JSON.parse(JSON.stringify(event))).toEqual(event);
  });
});

describe("users", () => {
  const users = seeded(200).map((random) => sample("user.created", { random }).data);

  test("sign in by email, by phone only, or by wallet only", () => {
    const ways = Map.groupBy(users, (user) =>
      user.email_addresses.length > 0 ? "email" : user.phone_numbers.length > 0 ? "phone" : "wallet",
    );
    expect([...ways.keys()].toSorted()).toEqual(["email", "phone", "wallet"]);
    expect(ways.get("email")!.length).toBeGreaterThan(100);
    for (const { first_name } of ways.get("wallet")!) expect(first_name).toBeNull();
  });

  test("have exactly the identities that their primary ids name, each verified", () => {
    for (const user of users) {
      expect(user.email_addresses.map(({ id }) => id)).toEqual(listOf(user.primary_email_address_id));
      expect(user.phone_numbers.map(({ id }) => id)).toEqual(listOf(user.primary_phone_number_id));
      expect(user.web3_wallets.map(({ id }) => id)).toEqual(listOf(user.primary_web3_wallet_id));
      for (const identity of identitiesOf(user)) expect(identity.verification?.status).toBe("verified");
    }
  });

  test("who came with Google have an address that is linked to the account", () => {
    const viaGoogle = users.filter((user) => user.external_accounts.length > 0);
    expect(viaGoogle).not.toBeEmpty();
    for (const { email_addresses, external_accounts } of viaGoogle) {
      expect(email_addresses[0]?.linked_to[0]?.id).toBe(external_accounts[0]!.identification_id);
      expect(email_addresses[0]?.email_address).toBe(external_accounts[0]!.email_address);
    }
  });

  test("have names beyond ASCII", () => {
    expect(users.filter(({ first_name }) => /[^\x20-\x7e]/.test(first_name ?? "")).length).toBeGreaterThan(50);
  });

  test("can't be reached: their addresses and numbers are kept for examples", () => {
    for (const user of users) {
      for (const { email_address } of user.email_addresses) expect(email_address).toMatch(/@example\.(com|net|org)$/);
      for (const { phone_number } of user.phone_numbers) expect(phone_number).toMatch(/^\+1\d{3}55501\d\d$/);
    }
  });
});

test("a session belongs to the user inside it", () => {
  for (const random of seeded(20)) {
    const { data } = sample("session.created", { random });
    expect(data.user?.id).toBe(data.user_id);
  }
});

test("a subscription's payer is the one that it names, and an invitation's organization too", () => {
  const { data: subscription } = sample("subscription.created");
  expect(subscription.payer.id).toBe(subscription.payer_id);
  const { data: invitation } = sample("organizationInvitation.created");
  expect(invitation.public_organization_data?.id).toBe(invitation.organization_id);
});

test("the same chance and time make the same sample", () => {
  for (const name of eventNames) {
    const [one, two] = [seed(7), seed(7)].map((random) => sample(name, { now: NOW, random }));
    expect(one).toEqual(two);
  }
});

describe("overrides", () => {
  test("are laid over the sample, and leave the rest", () => {
    const event = sample("user.created", {
      overrides: {
        instance_id: "ins_mine",
        data: { id: "user_mine", public_metadata: { plan: "pro" }, last_name: null },
      },
    });
    expect(event.instance_id).toBe("ins_mine");
    expect(event.data).toMatchObject({
      id: "user_mine",
      object: "user",
      public_metadata: { plan: "pro" },
      last_name: null,
    });
  });

  test("replace arrays as a whole, and never change their arguments", () => {
    const value = Object.freeze({ a: Object.freeze([1, 2]), b: Object.freeze({ c: 1, d: null }) });
    expect(mergeDeep(value, { a: [3], b: { d: { e: 1 } }, f: undefined })).toEqual({
      a: [3],
      b: { c: 1, d: { e: 1 } },
      f: undefined,
    });
  });

  test("can't reach the prototype of anything", () => {
    const merged = mergeDeep({}, JSON.parse('{ "__proto__": { "admin": true } }'));
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
    expect("admin" in {}).toBe(false);
  });

  test("win, whatever they are", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (value, over) => {
        expect(mergeDeep(mergeDeep(value, over), over)).toEqual(mergeDeep(value, over));
      }),
    );
  });
});

function identitiesOf(user: UserJSON) {
  return [...user.email_addresses, ...user.phone_numbers, ...user.web3_wallets];
}

function listOf(id: string | null): string[] {
  return id === null ? [] : [id];
}

function seeded(count: number): (() => number)[] {
  return Array.from({ length: count }, (_, index) => seed(index));
}

/** mulberry32: a stream of chance that can be had again. */
function seed(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
