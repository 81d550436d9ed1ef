import { expect, test } from "bun:test";

import type { BulkRefusal, DeliveryList, HandlerJson } from "../../src/api/types.ts";
import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { inspected, TOKEN } from "../inspector/inspected.ts";

const ADDED_LATER = "user.created/late";

test("the list and the replay select the same deliveries that a handler never saw", async () => {
  await using bellhop = await inspected({ "user.created.ts": "export default () => {};" });
  for (const id of ["msg_1", "msg_2"]) await bellhop.post(sample("user.created"), { id });
  await bellhop.post(sample("user.updated"), { id: "msg_3" });
  await bellhop.ended("msg_2");
  await Bun.write(`${bellhop.folder}/handlers/${ADDED_LATER}.ts`, "export default () => {};");
  await until("the new handler", async () =>
    (await bellhop.json<HandlerJson[]>("/api/handlers")).some(({ name }) => name === ADDED_LATER),
  );
  const query = `neverSeenBy=${encodeURIComponent(ADDED_LATER)}`;
  const ids = async () => (await bellhop.json<DeliveryList>(`/api/deliveries?${query}`)).deliveries.map(({ id }) => id);
  expect(await ids()).toEqual(["msg_2", "msg_1"]);
  expect(await bellhop.json("/api/replays?" + query)).toMatchObject({ found: 2, more: false });

  expect((await bellhop.write(`/api/bulk?${query}`)).status).toBe(200);
  await until("the new runs", async () => (await ids()).length === 0);
  expect((await bellhop.ended("msg_1")).runs).toContainEqual(
    expect.objectContaining({ handler: ADDED_LATER, replay: "", state: "done" }),
  );
});

test("a handler that does not exist or does not load gives 409 with the reason", async () => {
  await using bellhop = await inspected({ "user.created.ts": "export default (" });
  for (const parameter of ["handler", "neverSeenBy"]) {
    const unknown = await bellhop.get(`/api/replays?${parameter}=user.craeted`);
    expect(await unknown.json()).toEqual({ error: "unknown_handler", handlers: ["user.created"] });
    const broken = await bellhop.get(`/api/replays?${parameter}=user.created`);
    expect(await broken.json()).toMatchObject({
      error: "not_loaded",
      where: expect.stringContaining("user.created.ts"),
    });
    expect([unknown.status, broken.status]).toEqual([409, 409]);
  }
});

test("a bulk replay needs a condition, and above 100 runs the number that was counted", async () => {
  await using bellhop = await inspected({ "user.created.ts": "export default () => {};" }, TOKEN);
  await bellhop.signIn();
  const ids = Array.from({ length: 101 }, (_, index) => `msg_${index}`);
  await Promise.all(ids.map((id) => bellhop.post(sample("user.created"), { id })));
  const start = async (query: string, path = "bulk", body?: object) => {
    const answer = await bellhop.write(`/api/${path}?${query}`, body);
    return { status: answer.status, ...((await answer.json()) as Partial<BulkRefusal>) };
  };
  expect(await start("stale=true&expected=101")).toMatchObject({ status: 409, error: "no_condition" });
  expect(await start("type=user.created&stale=true")).toMatchObject({
    status: 409,
    error: "not_confirmed",
    message: "More than 100 runs match: count them, and repeat the request with that number as `expected`",
  });
  // It grew a little, then too much.
  expect(await start("type=user.created&stale=true&expected=90")).toMatchObject({
    status: 409,
    message: "90 runs were expected, and more match now: count them again",
  });
  expect((await start("type=user.created&stale=true&expected=93")).status).toBe(200);
  // Up to 100 runs, a request needs no number, and one that is too small is refused.
  expect((await start("id=msg_1&stale=true")).status).toBe(200);
  expect(await start("type=user.created&stale=true&expected=3")).toMatchObject({ error: "not_confirmed" });

  expect(await start("", "bulk/deliveries", { ids })).toMatchObject({ status: 409, error: "not_confirmed" });
  expect((await start("expected=101", "bulk/deliveries", { ids })).status).toBe(200);
});
