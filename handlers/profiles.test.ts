import { expect, test } from "bun:test";

import { testBellhop } from "bellhop/test";

test("a profile is created, updated and deleted with its user", async () => {
  await using bellhop = await testBellhop({ handlers: import.meta.dir });
  const profiles = async () => [...(await bellhop.db`select user_id, name from profiles`)];

  const { event, runs } = await bellhop.deliver("user.created", { first_name: "Ada" });
  const { id } = event.data;
  expect(runs["user.created"]).toMatchObject({ state: "done", log: ["a profile for Ada"] });
  expect(await profiles()).toEqual([{ user_id: id, name: "Ada" }]);

  await bellhop.deliver("user.updated", { id, first_name: "Countess" });
  expect(await profiles()).toEqual([{ user_id: id, name: "Countess" }]);

  await bellhop.deliver("user.deleted", { id });
  expect(await profiles()).toEqual([]);
});

test("an update that arrives after a later one is skipped", async () => {
  await using bellhop = await testBellhop({ handlers: import.meta.dir });
  const updated_at = Date.now();
  const { event } = await bellhop.deliver("user.updated", { first_name: "New", updated_at });
  const old = { ...event, timestamp: updated_at - 60_000, data: { ...event.data, first_name: "Old" } };
  const { runs } = await bellhop.deliver(old);
  expect(runs["user.updated"]).toMatchObject({ state: "skipped" });
  expect([...(await bellhop.db`select name from profiles`)]).toEqual([{ name: "New" }]);
});

test("a user without a first name is named friend", async () => {
  await using bellhop = await testBellhop({ handlers: import.meta.dir });
  await bellhop.deliver("user.created", { first_name: null });
  expect([...(await bellhop.db`select name from profiles`)]).toEqual([{ name: "friend" }]);
});
