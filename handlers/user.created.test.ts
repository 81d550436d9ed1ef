import { expect, test } from "bun:test";

import { deliver } from "bellhop/test";

test("a new user is welcomed by name, at the primary address", async () => {
  const address = { id: "idn_1", email_address: "ada@example.com" };
  const data = { first_name: "Ada", primary_email_address_id: "idn_1", email_addresses: [address as never] };
  const { runs } = await deliver("user.created", data, { handlers: import.meta.dir });
  expect(runs["user.created"]).toMatchObject({ state: "done", log: ["welcome, Ada (ada@example.com)"] });
});

test("a user without a name or an address is welcomed too", async () => {
  const data = { first_name: null, primary_email_address_id: null, email_addresses: [] };
  const { runs } = await deliver("user.created", data, { handlers: import.meta.dir });
  expect(runs["user.created"]).toMatchObject({ state: "done", log: ["welcome, friend (no address)"] });
});
