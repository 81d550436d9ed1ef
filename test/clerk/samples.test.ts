import { describe, expect, test } from "bun:test";

import type { UserJSON } from "@clerk/backend";
import fc from "fast-check";

import { describeMismatch } from "../../src/clerk/check.ts";
import { eventNames, isEvent, type ReceivedEvent, subjectOf } from "../../src/clerk/events.ts";
import samples from "../../src/clerk/samples.json";
import { mergeDeep, sample } from "../../src/clerk/samples.ts";
import { type Random, seeded } from "../random.ts";

const NOW = Date.UTC(2026, 1, 3, 4, 5, 6);

test("samples.json has exactly the events that Clerk sends", () => {
  expect(Object.keys(samples.events)).toEqual([...eventNames]);
});

describe.each([...eventNames])("a sample of %s", (name) => {
  const events = randomSources(40).map((random) => sample(name, { now: NOW, random }));

  test("matches Clerk's specification for any random numbers", () => {
    for (const event of events) {
      expect(event.type).toBe(name);
      expect(isEvent(event)).toBe(true);
      expect(describeMismatch(name, event.data)).toEqual([]);
    }
  });

  test("has a unique subject in the format of Clerk's ids", () => {
    for (const event of events) expect(subjectOf(event)).toMatch(/^[a-z]+(_[a-z]+)?_[0-9A-Za-z]{27}$/);
    expect(new Set(events.map(subjectOf)).size).toBe(events.length);
  });

  test("has times in milliseconds, in chronological order", () => {
    for (const event of events) {
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

  test("has only an id, object type and slug when the object was deleted", () => {
    if (!name.endsWith(".deleted") || name === "organizationMembership.deleted") return;
    for (const { data } of events) {
      const { slug: _, ...rest } = data as ReceivedEvent["data"];
      expect(rest).toEqual({ object: expect.any(String), id: expect.any(String), deleted: true });
    }
  });

  test("is unchanged by a round trip through JSON", () => {
    for (const event of events) expect(JSON.parse(JSON.stringify(event))).toEqual(event);
  });
});

describe("users", () => {
  const users = randomSources(200).map((random) => sample("user.created", { random }).data);

  test("sign in by email, by phone only, or by wallet only", () => {
    const methods = Map.groupBy(users, (user) =>
      user.email_addresses.length > 0 ? "email" : user.phone_numbers.length > 0 ? "phone" : "wallet",
    );
    expect([...methods.keys()].toSorted()).toEqual(["email", "phone", "wallet"]);
    expect(methods.get("email")!.length).toBeGreaterThan(100);
    for (const { first_name } of methods.get("wallet")!) expect(first_name).toBeNull();
  });

  test("have exactly the identities that their primary ids name, all verified", () => {
    for (const user of users) {
      expect(user.email_addresses.map(({ id }) => id)).toEqual(listOf(user.primary_email_address_id));
      expect(user.phone_numbers.map(({ id }) => id)).toEqual(listOf(user.primary_phone_number_id));
      expect(user.web3_wallets.map(({ id }) => id)).toEqual(listOf(user.primary_web3_wallet_id));
      for (const identity of identitiesOf(user)) expect(identity.verification?.status).toBe("verified");
    }
  });

  test("with a Google account have an email address that is linked to it", () => {
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

  test("have email addresses and phone numbers that are reserved for examples", () => {
    for (const user of users) {
      for (const { email_address } of user.email_addresses) expect(email_address).toMatch(/@example\.(com|net|org)$/);
      for (const { phone_number } of user.phone_numbers) expect(phone_number).toMatch(/^\+1\d{3}55501\d\d$/);
    }
  });
});

test("a session belongs to the user embedded in it", () => {
  for (const random of randomSources(20)) {
    const { data } = sample("session.created", { random });
    expect(data.user?.id).toBe(data.user_id);
  }
});

test("ids of embedded objects match: the payer of a subscription, the organization of an invitation", () => {
  const { data: subscription } = sample("subscription.created");
  expect(subscription.payer.id).toBe(subscription.payer_id);
  const { data: invitation } = sample("organizationInvitation.created");
  expect(invitation.public_organization_data?.id).toBe(invitation.organization_id);
});

test("the same random numbers and time give the same sample", () => {
  for (const name of eventNames) {
    const [first, second] = [seeded(7), seeded(7)].map((random) => sample(name, { now: NOW, random }));
    expect(first).toEqual(second);
  }
});

describe("overrides", () => {
  test("are merged into the sample and keep the rest", () => {
    const event = sample("user.created", {
      overrides: {
        instance_id: "ins_1",
        data: { id: "user_1", public_metadata: { plan: "pro" }, last_name: null },
      },
    });
    expect(event.instance_id).toBe("ins_1");
    expect(event.data).toMatchObject({
      id: "user_1",
      object: "user",
      public_metadata: { plan: "pro" },
      last_name: null,
    });
  });

  test("replace whole arrays, and do not change the arguments", () => {
    const value = Object.freeze({ a: Object.freeze([1, 2]), b: Object.freeze({ c: 1, d: null }) });
    expect(mergeDeep(value, { a: [3], b: { d: { e: 1 } }, f: undefined })).toEqual({
      a: [3],
      b: { c: 1, d: { e: 1 } },
      f: undefined,
    });
  });

  test("cannot change a prototype", () => {
    const merged = mergeDeep({}, JSON.parse('{ "__proto__": { "admin": true } }'));
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
    expect("admin" in {}).toBe(false);
  });

  test("take precedence for any two values", () => {
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

function randomSources(count: number): Random[] {
  return Array.from({ length: count }, (_, seed) => seeded(seed));
}
