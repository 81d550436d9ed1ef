// `mirror()` in a handler file, from a signed request to the row.

import { expect, test } from "bun:test";

import { createClerkClient } from "@clerk/backend";
import { on } from "bellhop";
import { ensureUser, mirror, type MirroredUser } from "bellhop/mirror";
import { deliver, testBellhop } from "bellhop/test";

import type { KnownEventName } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { readRow } from "../../src/mirror/table.ts";
import { tables } from "../../src/mirror/tables.ts";
import { startClerkApi } from "../clerk-api.ts";
import { officialExamples, withoutOfficial } from "../clerk/official.ts";

const emailAddress = (id: string, email_address: string) => ({ id, email_address }) as never;
const phoneNumber = (id: string, phone_number: string) => ({ id, phone_number }) as never;

test("writes a user's creation, update and deletion to one row", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  const { event } = await bellhop.deliver("user.created", { first_name: "Ada" });
  const { id } = event.data;
  const row = async () => (await bellhop.db`select * from clerk_users where id = ${id}`)[0];
  expect(await row()).toMatchObject({ first_name: "Ada", deleted_at: null });
  await bellhop.deliver("user.updated", { id, first_name: "Countess" });
  expect(await row()).toMatchObject({ first_name: "Countess", deleted_at: null });
  await bellhop.deliver("user.deleted", { id });
  const deleted = await row();
  expect(deleted.first_name).toBe("Countess");
  expect(new Date(deleted.deleted_at).getTime()).toBeWithin(Date.now() - 60_000, Date.now() + 1);
});

test("email and phone are the primary ones, regardless of their position in the list", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  await bellhop.deliver("user.created", {
    email_addresses: [emailAddress("idn_1", "old@example.com"), emailAddress("idn_2", "ada@example.com")],
    primary_email_address_id: "idn_2",
    phone_numbers: [phoneNumber("idn_3", "+15550100"), phoneNumber("idn_4", "+15550101")],
    primary_phone_number_id: "idn_4",
  });
  expect([...(await bellhop.db`select email, phone from clerk_users`)]).toMatchObject([
    { email: "ada@example.com", phone: "+15550101" },
  ]);
});

test("a user with a phone number only has no email", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  await bellhop.deliver("user.created", {
    email_addresses: [],
    primary_email_address_id: null,
    phone_numbers: [phoneNumber("idn_3", "+15550100")],
    primary_phone_number_id: "idn_3",
  });
  expect([...(await bellhop.db`select email, phone from clerk_users`)]).toMatchObject([
    { email: null, phone: "+15550100" },
  ]);
});

test("a Dashboard example is logged and not written", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  const { runs } = await bellhop.deliver("user.created", { id: "user_2g7np7Hrk0SN6kj5EDMLDaKNL0S" });
  expect(runs["*"]).toMatchObject({ state: "done", log: [expect.stringContaining("not written")] });
  expect(await bellhop.db`select * from clerk_users`).toHaveLength(0);
});

test("an object without a created_at in milliseconds is logged and not written", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  for (const created_at of [undefined, null, "2026-01-01T00:00:00Z"]) {
    const { runs } = await bellhop.deliver("user.updated", { id: "user_1", created_at } as never);
    expect(runs["*"]).toMatchObject({
      state: "done",
      log: [expect.stringMatching(/user\.updated of user_1 has no created_at.* not written/)],
    });
  }
  expect(await bellhop.db`select * from clerk_users`).toHaveLength(0);
});

test("stores the instances of events, but not that of samples", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  await bellhop.deliver("user.created");
  const event = { ...sample("user.created"), instance_id: "ins_one" };
  for (const instance_id of ["ins_one", "ins_one", "ins_two", "ins_one", ""])
    await bellhop.deliver({ ...event, instance_id });
  expect([...(await bellhop.db`select id from bellhop_mirror_instances order by id`)]).toEqual([
    { id: "ins_one" },
    { id: "ins_two" },
  ] as never);
});

test("writes organizations, memberships and invitations, and ignores other events", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror() } });
  for (const event of [
    "organization.created",
    "organizationMembership.created",
    "organizationInvitation.created",
  ] as const)
    await bellhop.deliver(event);
  await bellhop.deliver("organizationInvitation.accepted");
  const { runs } = await bellhop.deliver("organizationDomain.created");
  expect(runs["*"]).toMatchObject({ state: "done", log: [] });
  const count = async (table: string) => (await bellhop.db.unsafe(`select count(*) as n from ${table}`))[0].n;
  expect(await count("clerk_organizations")).toBe(1);
  expect(await count("clerk_organization_memberships")).toBe(1);
  expect(await count("clerk_organization_invitations")).toBe(2);
  expect([...(await bellhop.db`select organization_id, user_id from clerk_organization_memberships`)]).toMatchObject([
    { organization_id: expect.stringMatching(/^org_/), user_id: expect.stringMatching(/^user_/) },
  ]);
});

test("does not store private metadata unless it is configured", async () => {
  const data = { public_metadata: { plan: "gold" }, private_metadata: { iban: "DE00" } };
  const rawWith = async (handler: ReturnType<typeof mirror>) => {
    await using bellhop = await testBellhop({ handlers: { "*": handler } });
    await bellhop.deliver("user.created", data);
    await bellhop.deliver("organizationMembership.created", {
      organization: { private_metadata: { iban: "DE00" } },
    });
    const [user] = await bellhop.db`select public_metadata, raw from clerk_users`;
    const [member] = await bellhop.db`select raw from clerk_organization_memberships`;
    return { plan: JSON.parse(user.public_metadata)?.plan, raw: String(user.raw) + String(member.raw) };
  };
  const byDefault = await rawWith(mirror());
  expect(byDefault.plan).toBe("gold");
  expect(byDefault.raw).not.toContain("DE00");
  expect((await rawWith(mirror({ metadata: ["public", "private"] }))).raw.split("DE00")).toHaveLength(3);
  expect((await rawWith(mirror({ metadata: [] }))).raw).not.toContain("gold");
});

test("creates only the configured tables, with the configured prefix", async () => {
  await using bellhop = await testBellhop({ handlers: { "*": mirror({ tables: ["users"], prefix: "auth_" }) } });
  await bellhop.deliver("user.created");
  await bellhop.deliver("organization.created");
  const found = await bellhop.db`select name from sqlite_master where type = 'table' and name like 'auth%'`;
  expect([...found]).toMatchObject([{ name: "auth_users" }]);
});

test("refuses invalid options and suggests valid ones", () => {
  expect(() => mirror({ tables: ["user" as "users"] })).toThrow("did you mean users?");
  expect(() => mirror({ metadta: [] } as never)).toThrow("did you mean metadata?");
  expect(() => mirror({ metadata: ["secret" as "private"] })).toThrow("there are public, private, unsafe");
  expect(() => mirror({ prefix: "clerk-" })).toThrow('"clerk_"');
});

test("ensureUser fetches a user whose event has not arrived, once", async () => {
  await using api = await startClerkApi();
  const ada = api.addUser({ first_name: "Ada" });
  const users: MirroredUser[] = [];
  const handler = on("organizationMembership.created", async ({ db, clerk, data }) => {
    users.push(await ensureUser(db, clerk, data.public_user_data.user_id));
  });
  await using bellhop = await testBellhop({
    handlers: { "*": mirror(), "organizationMembership.created": handler },
    clerk: createClerkClient({ secretKey: api.secretKey, apiUrl: api.url }),
  });
  const data = { public_user_data: { user_id: ada.id } };
  for (let index = 0; index < 2; index += 1) {
    const { runs } = await bellhop.deliver("organizationMembership.created", data);
    expect(runs["organizationMembership.created"]).toMatchObject({ state: "done" });
  }
  expect(users).toHaveLength(2);
  for (const user of users) {
    expect(user).toMatchObject({ id: ada.id, first_name: "Ada", banned: false, deleted_at: null });
    expect(user.created_at).toEqual(new Date(ada.created_at));
    expect(user.raw).toMatchObject({ object: "user" });
  }
  expect(api.requests).toHaveLength(1);
  const unknown = await bellhop.deliver("organizationMembership.created", {
    public_user_data: { user_id: "user_unknown" },
  });
  expect(unknown.runs["organizationMembership.created"]).toMatchObject({ state: "waiting" });
});

test("works in a handler file for one kind of object", async () => {
  const { runs } = await deliver("user.created", {}, { handlers: { "user.*": mirror() } });
  expect(runs["user.*"]).toMatchObject({ state: "done" });
});

test.skipIf(withoutOfficial)("rows keep every column of the official examples", async () => {
  const kinds = new Map(tables.map((table) => [table.kind, table]));
  const found = [...(await officialExamples()).values()].filter(({ type }) => kinds.has(type.split(".")[0]!));
  // All but email.created and sms.created.
  expect(found).toHaveLength(44);
  for (const { type, data } of found) {
    const table = kinds.get(type.split(".")[0]!)!;
    const row = readRow(table, data, ["public", "private", "unsafe"]);
    expect(row["raw"]).toEqual(data);
    for (const [column, value] of Object.entries(data)) {
      if (!(column in row)) continue;
      const cell = row[column] instanceof Date ? row[column].getTime() : row[column];
      expect(cell as unknown, `${type} ${column}`).toEqual(value);
    }
  }
});

test.skipIf(withoutOfficial)("rows have what the official examples keep inside of other objects", async () => {
  const examples = await officialExamples();
  const rowOf = (type: KnownEventName) => {
    const table = tables.find(({ kind }) => kind === type.split(".")[0])!;
    return readRow(table, examples.get(type)!.data, []);
  };
  expect(rowOf("organizationMembership.created")).toMatchObject({
    organization_id: "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S",
    user_id: "user_2h8op3Isl1QR7tKu5FGNfaLKEoU",
  });
  const payer = { payer_id: "cpayer_2g7np7Hrk0SN6kj5EDMLDaKNL0S", organization_id: null };
  expect(rowOf("subscription.created")).toMatchObject({ ...payer, user_id: "user_34D368EufHwugfYh4yyGNEheM0S" });
  expect(rowOf("subscriptionItem.created")).toMatchObject({ ...payer, plan_slug: "pro-plan", period: "month" });
  expect(rowOf("paymentAttempt.updated")).toMatchObject({
    ...payer,
    user_id: "user_2g7np7Hrk0SN6kj5EDMLDaKNL0S",
    amount: 2200,
    currency: "USD",
    failed_reason: null,
  });
  expect(rowOf("role.updated")).toMatchObject({ permission_keys: ["org:posts:edit", "org:posts:publish"] });
  expect(rowOf("organizationDomain.updated")).toMatchObject({ verification_status: "verified" });
  expect(rowOf("waitlistEntry.updated")).toMatchObject({
    email: "john.doe@example.com",
    invitation_id: "inv_2g7np7Hrk0SN6kj5EDMLDaKNL0S",
  });
});

test("ensureUser without a mirror names the command that creates one", async () => {
  await using api = await startClerkApi();
  const handler = on("organizationMembership.created", async ({ db, clerk, data }) => {
    await ensureUser(db, clerk, data.public_user_data.user_id);
  });
  await using bellhop = await testBellhop({
    handlers: { "organizationMembership.created": handler },
    clerk: createClerkClient({ secretKey: api.secretKey, apiUrl: api.url }),
  });
  const { runs } = await bellhop.deliver("organizationMembership.created");
  expect(runs["organizationMembership.created"]?.error?.message).toContain("bunx bellhop new mirror");
});
