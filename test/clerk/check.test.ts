import { describe, expect, test } from "bun:test";

import { createPayloadCheck, describeMismatch } from "../../src/clerk/check.ts";
import { eventNames, type KnownEventName } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { officialExamples, withoutOfficial } from "./official.ts";

const { data: user } = sample("user.created");
const { data: session } = sample("session.created");

describe("describeMismatch", () => {
  test("reports the path, the expected type and the actual type", () => {
    expect(describeMismatch("user.created", { ...user, first_name: 7, banned: null })).toEqual([
      { path: "data.first_name", message: "expected string or null, got number" },
      { path: "data.banned", message: "expected boolean, got null" },
    ]);
  });

  test("reports paths inside arrays and unions", () => {
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

  test("reports a missing property once", () => {
    const { client_id: _, ...rest } = session;
    expect(describeMismatch("session.created", rest)).toEqual([
      { path: "data.client_id", message: "expected string, got nothing" },
    ]);
  });

  test("shows an unknown enum value if it is a bare word, and no other text of the payload", () => {
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

  test("reports at most 20 mismatches", () => {
    const invalid = Array.from({ length: 1_000 }, () => "x");
    expect(describeMismatch("user.created", { ...user, email_addresses: invalid })).toHaveLength(20);
  });

  test("accepts properties that the specification does not have", () => {
    expect(describeMismatch("user.created", { ...user, favourite_colour: "green" })).toEqual([]);
  });

  test.each([[null], [undefined], [[]], ["text"]])("reports %p in place of the data", (data) => {
    expect(describeMismatch("user.deleted", data)[0]?.path).toBe("data");
  });
});

test.each(["something.new", "constructor", "__proto__", ""])(
  "accepts any data of the event type %p, which has no schema",
  (type) => {
    expect(describeMismatch(type, { id: 1 })).toEqual([]);
  },
);

describe("the shape watch", () => {
  test("reports each mismatch once, however many deliveries and array members have it", () => {
    const reports: string[] = [];
    const watch = createPayloadCheck((report) => reports.push(report));
    for (let delivery = 0; delivery < 3; delivery++)
      watch("role.created", { ...sample("role.created").data, permissions: [null, null, null] });
    expect(reports).toEqual([
      "role.created: data.permissions[]: expected object, got null (differs from Clerk's specification; the event is delivered anyway)",
    ]);
    watch("role.updated", { ...sample("role.updated").data, permissions: [null] });
    expect(reports).toHaveLength(2);
  });

  test("reports nothing for payloads that match", () => {
    createPayloadCheck((report) => expect.unreachable(report))("user.created", user);
  });
});

// Where Clerk's examples contradict Clerk's specification. Any other mismatch is a bug in the schemas or in their generator.
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
  "the Dashboard's examples match the specification, except where Clerk contradicts itself",
  async () => {
    const found = Object.fromEntries(
      [...(await officialExamples())]
        .map(([name, { data }]) => [name, describeMismatch(name, data).map(({ path }) => path)] as const)
        .filter(([, paths]) => paths.length > 0),
    );
    expect(found).toEqual(CONTRADICTIONS);
  },
);
