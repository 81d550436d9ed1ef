import { expect, test } from "bun:test";

import type { DeliveryList, HandlerJson, ReplayStep } from "../../src/api/types.ts";
import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { inspected } from "../inspector/inspected.ts";

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

  const add = async (after: number | null) =>
    (await (await bellhop.write(`/api/replays?${query}&replay=&after=${after}&limit=1`)).json()) as ReplayStep;
  const first = await add(0);
  expect(first).toMatchObject({ added: 1, runs: { first: expect.any(Number) } });
  expect(await ids()).toEqual(["msg_2"]);
  expect(await add(first.next)).toMatchObject({ added: 1 });
  expect(await ids()).toEqual([]);
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

test("refuses a replay id with the filters of first runs, and a limit that is too high", async () => {
  await using bellhop = await inspected({ "user.created.ts": "export default () => {};" });
  for (const query of ["replay=&state=dead", "replay=abc&neverSeenBy=user.created", "replay=a&limit=201"])
    expect((await bellhop.write(`/api/replays?${query}&after=0`)).status, query).toBe(422);
});
