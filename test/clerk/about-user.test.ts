// Which events are about a user.

import { expect, test } from "bun:test";

import { identifiersIn, isAboutUser } from "../../src/clerk/about-user.ts";

const USER = "user_1";
const ADDRESSES = new Set(["idn_1", "ada@example.com", "+15550100"]);
const isAbout = (type: string, data: unknown) => isAboutUser(type, data, USER, ADDRESSES);

test.each([
  ["session.created", { user_id: USER }],
  ["organizationMembership.created", { public_user_data: { user_id: USER } }],
  ["subscription.created", { items: [{ payer: { user_id: USER } }] }],
  ["email.created", { user_id: USER, to_email_address: "other@example.com" }],
  ["email.created", { user_id: null, to_email_address: "ada@example.com" }],
  ["email.created", { email_address_id: "idn_1" }],
  ["sms.created", { to_phone_number: "+15550100" }],
])("%s with %j is about the user", (type, data) => {
  expect(isAbout(type, data)).toBe(true);
});

test.each([
  ["session.created", { user_id: "user_12" }],
  // The organization's own data; the user is only named as its creator.
  ["organization.created", { created_by: USER }],
  ["email.created", { user_id: "user_2", to_email_address: "ada@example.com" }],
  ["email.created", { to_email_address: "eve@example.com" }],
  ["user.updated", { email_address: "ada@example.com" }],
  ["email.created", null],
])("%s with %j is not", (type, data) => {
  expect(isAbout(type, data)).toBe(false);
});

test("the identifiers of a user are the ids and values of its addresses and numbers", () => {
  const data = {
    email_addresses: [{ id: "idn_1", email_address: "ada@example.com" }, null],
    phone_numbers: [{ id: "idn_2", phone_number: "+15550100" }],
    username: "ada",
  };
  expect(identifiersIn(data)).toEqual(["idn_1", "ada@example.com", "idn_2", "+15550100"]);
  for (const other of [null, undefined, "text", { email_addresses: "none" }]) expect(identifiersIn(other)).toEqual([]);
});
