// Several copies of one message are stored once and run once, and each receipt is counted.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { type RawConnection, rawConnection, rawRequest, serverWith, signed, type TestServer } from "../harness.ts";

const ROUNDS = 1_000;

/** A handler that appends the id of its delivery to a file. */
const RECORDING_HANDLER = `
import { appendFileSync } from "node:fs";
export default ({ delivery }) => appendFileSync(new URL("../ran.txt", import.meta.url), delivery.id + "\\n");
`;

async function recordedIds(server: TestServer): Promise<string[]> {
  return (await Bun.file(join(server.folder, "ran.txt")).text()).trim().split("\n");
}

test(`stores and runs a delivery once when two copies arrive at the same time, ${ROUNDS} times`, async () => {
  await using server = await serverWith({ "user.created.ts": RECORDING_HANDLER });
  using left = await rawConnection(server.port);
  using right = await rawConnection(server.port);
  const ids = Array.from({ length: ROUNDS }, (_, round) => `msg_${round}`);

  for (const [round, id] of ids.entries()) {
    const body = JSON.stringify(sample("user.created"));
    const copy = rawRequest("POST", "/api/webhooks", signed(body, { id }), body);
    // Alternate which connection writes first.
    const connections = round % 2 === 0 ? [left, right] : [right, left];
    for (const connection of connections) connection.write(copy);
    const answers = await Promise.all(connections.map((connection) => connection.answer()));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const statuses = answers.map(({ body }) => JSON.parse(body).status);
    expect(new Set(statuses)).toEqual(new Set(["accepted", "duplicate"]));
  }

  for (const id of ids) {
    const { receipts, runs } = await server.ended(id);
    expect({ id, receipts, states: runs.map(({ state }) => state) }).toEqual({ id, receipts: 2, states: ["done"] });
  }
  expect((await recordedIds(server)).toSorted()).toEqual(ids.toSorted());
}, 60_000);

test("runs each handler once when fifty copies arrive at the same time", async () => {
  await using server = await serverWith({
    "user.created.ts": RECORDING_HANDLER,
    "user.created/again.ts": "export default () => {}",
  });
  await using opened = new AsyncDisposableStack();
  const connections: RawConnection[] = [];
  for (let i = 0; i < 50; i++) connections.push(opened.use(await rawConnection(server.port)));
  const body = JSON.stringify(sample("user.created"));
  const copy = rawRequest("POST", "/api/webhooks", signed(body, { id: "msg_1" }), body);
  for (const connection of connections) connection.write(copy);
  const answers = await Promise.all(connections.map((connection) => connection.answer()));
  const statuses = answers.map(({ body }) => JSON.parse(body).status);
  expect(statuses.filter((status) => status === "accepted")).toHaveLength(1);
  expect(statuses.filter((status) => status === "duplicate")).toHaveLength(49);
  const { receipts, runs } = await server.ended("msg_1");
  expect(receipts).toBe(50);
  expect(runs).toMatchObject([
    { handler: "user.created", state: "done", attempts: [{ attempt: 1 }] },
    { handler: "user.created/again", state: "done", attempts: [{ attempt: 1 }] },
  ]);
  expect(await recordedIds(server)).toEqual(["msg_1"]);
});

test("treats a copy with a later signature, as in a retry by Svix, as a duplicate", async () => {
  await using server = await serverWith({ "user.created.ts": RECORDING_HANDLER });
  const event = sample("user.created");
  const first = await server.post(event, { id: "msg_1", at: new Date(Date.now() - 120_000) });
  expect(await first.json()).toMatchObject({ status: "accepted" });
  await server.ended("msg_1");
  const second = await server.post(event, { id: "msg_1" });
  expect(await second.json()).toMatchObject({ status: "duplicate", runs: { "user.created": "done" } });
  expect(await recordedIds(server)).toEqual(["msg_1"]);
});

test("runs two different events of one user", async () => {
  await using server = await serverWith({ "user.[action].ts": RECORDING_HANDLER });
  const event = sample("user.created");
  await server.post(event, { id: "msg_1" });
  await server.post({ ...event, type: "user.updated", timestamp: event.timestamp + 1 }, { id: "msg_2" });
  await server.ended("msg_1");
  await server.ended("msg_2");
  expect(await recordedIds(server)).toEqual(["msg_1", "msg_2"]);
});

test("recognises a duplicate after a restart", async () => {
  await using first = await serverWith({ "user.created.ts": RECORDING_HANDLER });
  const event = sample("user.created");
  await first.post(event, { id: "msg_1" });
  await first.ended("msg_1");
  await first.stop();
  await using second = await serverWith({}, {}, first.folder);
  expect(await (await second.post(event, { id: "msg_1" })).json()).toMatchObject({ status: "duplicate" });
  expect(await recordedIds(second)).toEqual(["msg_1"]);
});
