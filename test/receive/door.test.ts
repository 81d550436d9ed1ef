import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { serverWith } from "../harness.ts";

test("a signed event is stored, answered and handled", async () => {
  await using server = await serverWith({
    "user.created.ts": `import { on } from "bellhop"; export default on("user.created", ({ data, log }) => log.info(data.id));`,
  });
  const event = sample("user.created");
  const response = await server.post(event, { id: "msg_1" });
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ id: "msg_1", status: "accepted" });
  const { runs } = await server.ended("msg_1");
  expect(runs).toMatchObject([
    { handler: "user.created", state: "done", attempts: [{ log: [{ message: event.data.id }] }] },
  ]);
});
