import { expect, test } from "bun:test";

import type { DeliveryList, HandlerJson } from "../../src/api/types.ts";
import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { inspected } from "../inspector/inspected.ts";

const LATE = "user.created/late";

test("the list and the replay select the same deliveries that a handler never saw", async () => {
  await using it = await inspected({ "user.created.ts": "export default () => {};" });
  for (const id of ["msg_1", "msg_2"]) await it.post(sample("user.created"), { id });
  await it.post(sample("user.updated"), { id: "msg_3" });
  await it.ended("msg_2");
  await Bun.write(`${it.folder}/handlers/${LATE}.ts`, "export default () => {};");
  await until("the late handler", async () =>
    (await it.json<HandlerJson[]>("/api/handlers")).some(({ name }) => name === LATE),
  );
  const query = `neverSeenBy=${encodeURIComponent(LATE)}`;
  const ids = async () => (await it.json<DeliveryList>(`/api/deliveries?${query}`)).deliveries.map(({ id }) => id);
  expect(await ids()).toEqual(["msg_2", "msg_1"]);
  expect(await it.json("/api/replays?" + query)).toMatchObject({ found: 2, more: false });

  expect((await it.write(`/api/bulk?${query}`)).status).toBe(200);
  await until("the new runs", async () => (await ids()).length === 0 || undefined);
  expect((await it.ended("msg_1")).runs).toContainEqual(
    expect.objectContaining({ handler: LATE, replay: "", state: "done" }),
  );
});

test("a handler that does not exist or does not load is an answer with its reason", async () => {
  await using it = await inspected({ "user.created.ts": "export default (" });
  for (const parameter of ["handler", "neverSeenBy"]) {
    const unknown = await it.get(`/api/replays?${parameter}=user.craeted`);
    expect(await unknown.json()).toEqual({ error: "unknown_handler", handlers: ["user.created"] });
    const broken = await it.get(`/api/replays?${parameter}=user.created`);
    expect(await broken.json()).toMatchObject({
      error: "not_loaded",
      where: expect.stringContaining("user.created.ts"),
    });
    expect([unknown.status, broken.status]).toEqual([409, 409]);
  }
});
