import { describe, expect, test } from "bun:test";

import { createShapeWatch, describeMismatch } from "../../src/clerk/check.ts";
import { eventNames, type KnownEventName } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { officialExamples, withoutOfficial } from "./official.ts";

const { data: user } = sample("user.created");
const { data: session } = sample("session.created");

describe("a payload that differs from the specification", () => {
  test("is described by path and by what was expected there", () => {
    expect(describeMismatch("user.created", { ...user, first_name: 7, banned: null })).toEqual([
      { path: "data.first_name", message: "expected string or null, got number" },
      { path: "data.banned", message: "expected boolean, got null" },
    ]);
  });

  test("is described inside arrays and alternatives", () => {
    const address = {
      object: "email_address",
      email_address: null,
      reserved: false,
      verification: { status: "verified", strategy: "admin", attempts: "one", expire_at: null },
      linked_to: {},
      created_at: 1,
      updated_at: 1,
    };
    expect(describeMismatch("user.created", { ...user, email_addresses: [address] })).toEqual([
      { path: "data.email_addresses[0].email_address", message: "expected string, got null" },
      { path: "data.email_addresses[0].verification.attempts", message: "expected integer or null, got string" },
      { path: "data.email_addresses[0].linked_to", message: "expected array, got object" },
    ]);
  });

  test("is described once where something is missing", () => {
    const { client_id: _, ...rest } = session;
    expect(describeMismatch("session.created", rest)).toEqual([
      { path: "data.client_id", message: "expected string, got nothing" },
    ]);
  });

  test("shows a word that is new in a fixed list, and no other text of the payload", () => {
    const expected = 'expected "pending" or "invited" or "rejected" or "completed", got';
    const { data } = sample("waitlistEntry.created");
    expect(describeMismatch("waitlistEntry.created", { ...data, status: "on_hold" })[0]?.message).toBe(
      `${expected} "on_hold"`,
    );
    expect(describeMismatch("waitlistEntry.created", { ...data, status: "123456" })[0]?.message).toBe(
      `${expected} string`,
    );
    expect(JSON.stringify(describeMismatch("waitlistEntry.created", { ...data, id: ["zoe"] }))).not.toContain("zoe");
  });

  test("that is strange from end to end is described in at most twenty lines", () => {
    const many = Array.from({ length: 1_000 }, () => "x");
    expect(describeMismatch("user.created", { ...user, email_addresses: many })).toHaveLength(20);
  });

  test("is no difference at all where it only has more than the specification knows", () => {
    expect(describeMismatch("user.created", { ...user, favourite_colour: "green" })).toEqual([]);
  });

  test.each([[null], [undefined], [[]], ["text"]])("may be %p as a whole", (data) => {
    expect(describeMismatch("user.deleted", data)[0]?.path).toBe("data");
  });
});

test.each(["something.new", "constructor", "__proto__", ""])(
  "an event of type %p, which nobody specifies, fits",
  (type) => {
    expect(describeMismatch(type, { id: 1 })).toEqual([]);
  },
);

describe("the shape watch", () => {
  test("reports each difference once, however many deliveries and members of an array have it", () => {
    const lines: string[] = [];
    const watch = createShapeWatch((line) => lines.push(line));
    for (let delivery = 0; delivery < 3; delivery++)
      watch("role.created", { ...sample("role.created").data, permissions: [null, null, null] });
    expect(lines).toEqual([
      "role.created: data.permissions[]: expected object, got null (differs from Clerk's specification; delivered all the same)",
    ]);
    watch("role.updated", { ...sample("role.updated").data, permissions: [null] });
    expect(lines).toHaveLength(2);
  });

  test("says nothing of payloads that fit", () => {
    createShapeWatch((line) => expect.unreachable(line))("user.created", user);
  });
});

// Clerk's examples are not all what Clerk's specification says. This is where; anything else is a mistake of ours.
const INVITATION = ["data.inviter_id", "data.public_inviter_data"];
const PAYMENT = [
  "data.invoice_id",
  "data.payer.organization_id",
  "data.payer.organization_name",
  "data.subscription_items[0].object",
  "data.subscription_items[0].created_at",
  "data.subscription_items[0].updated_at",
  "data.subscription_items[0].interval",
];
const CONTRADICTIONS: Partial<Record<KnownEventName, string[]>> = {
  "organizationDomain.created": ["data.affiliation_verification", "data.ownership_verification"],
  "organizationDomain.updated": [
    "data.affiliation_verification",
    "data.ownership_verification",
    "data.verification.verified_at",
  ],
  "organizationInvitation.accepted": INVITATION,
  "organizationInvitation.created": INVITATION,
  "organizationInvitation.revoked": INVITATION,
  "paymentAttempt.created": PAYMENT,
  "paymentAttempt.updated": PAYMENT,
  "role.deleted": ["data.slug"],
  "role.updated": ["data.is_creator_eligible"],
  // The specification has created_at_ms, the example created_at.
  "sms.created": ["data.created_at_ms"],
  // "subscription_item" in the examples, "commerce_subscription_item" in the specification and the SDK.
  ...Object.fromEntries(
    eventNames.filter((name) => name.startsWith("subscriptionItem.")).map((name) => [name, ["data.object"]]),
  ),
  // "waitlistEntry" in the examples, "waitlist_entry" in the specification and the SDK.
  "waitlistEntry.created": ["data.object"],
  "waitlistEntry.updated": ["data.object", "data.invitation.public_metadata"],
};

test.skipIf(withoutOfficial)(
  "the Dashboard's examples fit the specification, except where Clerk contradicts itself",
  async () => {
    const found = Object.fromEntries(
      [...(await officialExamples())]
        .map(([name, { data }]) => [name, describeMismatch(name, data).map(({ path }) => path)] as const)
        .filter(([, paths]) => paths.length > 0),
    );
    expect(found).toEqual(CONTRADICTIONS);
  },
);
