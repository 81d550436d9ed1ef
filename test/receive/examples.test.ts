// Every event type of Clerk, with the Dashboard's examples and with Bellhop's samples: signed by `svix`, sent to a server,
// handled and `done`.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { eventNames } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { serverWith, SHARED, type TestServer } from "../harness.ts";

const EXAMPLES = join(SHARED, "clerk", "examples");

/** A handler that logs its arguments. */
const LOGGING_HANDLER = `
export default ({ event, data, delivery, log }) =>
  log.info(JSON.stringify({ type: event.type, id: data.id, timestamp: event.timestamp, sample: delivery.sample }));
`;

/** Sends an event, waits for its runs, and returns the stored delivery and the handler's arguments. */
async function deliver(server: TestServer, id: string, event: unknown) {
  const response = await server.post(event, { id });
  expect({ code: response.status, answer: await response.json() }).toEqual({
    code: 200,
    answer: { id, status: "accepted" },
  });
  const { type, subject, at, sample, runs } = await server.ended(id);
  const logged = runs[0]?.attempts.at(-1)?.log?.[0]?.message ?? "null";
  return {
    type,
    subject,
    at,
    sample,
    runs: runs.map(({ handler, state, attempts }) => [handler, state, attempts.at(-1)?.error?.message]),
    given: JSON.parse(logged),
  };
}

describe("the Dashboard's examples", () => {
  const files = existsSync(EXAMPLES) ? readdirSync(EXAMPLES).filter((name) => name.endsWith(".json")) : [];
  if (files.length === 0) console.log(`skipped: Clerk's examples, because ${EXAMPLES} has none`);
  // Their timestamp, which is in seconds: 28 May 2024.
  const at = 1_716_883_200_000;

  test.skipIf(files.length === 0)(
    "are handled and recognised as samples, with their timestamps in milliseconds",
    async () => {
      await using server = await serverWith({ "[...event].ts": LOGGING_HANDLER });
      expect(files.map((name) => name.replace(/\.json$/, "")).toSorted()).toEqual([...eventNames].toSorted());
      for (const name of files) {
        const example = await Bun.file(join(EXAMPLES, name)).json();
        const { type, data } = example;
        expect(await deliver(server, `msg_${type.replace(".", "_")}`, example)).toEqual({
          type,
          subject: data.id,
          at,
          sample: true,
          runs: [["[...event]", "done", undefined]],
          given: { type, id: data.id, timestamp: at, sample: true },
        });
      }
    },
  );

  test.skipIf(files.length === 0)("of users are handled by the repository's example handler", async () => {
    await using server = await serverWith(await exampleHandler());
    const example = await Bun.file(join(EXAMPLES, "user.created.json")).json();
    expect(await server.post(example, { id: "msg_1" })).toHaveProperty("status", 200);
    expect((await server.ended("msg_1")).runs).toMatchObject([{ handler: "user.created", state: "done" }]);
  });
});

test("Bellhop's samples are handled and are not Dashboard examples", async () => {
  await using server = await serverWith({ "[...event].ts": LOGGING_HANDLER });
  expect(eventNames).toHaveLength(46);
  for (const type of eventNames) {
    const event = sample(type);
    const subject = "id" in event.data ? event.data["id"] : null;
    expect(subject).toBeString();
    expect(await deliver(server, `msg_${type.replace(".", "_")}`, event)).toEqual({
      type,
      subject,
      at: event.timestamp,
      sample: false,
      runs: [["[...event]", "done", undefined]],
      given: { type, id: subject, timestamp: event.timestamp, sample: false },
    });
  }
});

describe("an incomplete or unusual event", () => {
  const { timestamp, instance_id, event_attributes, ...bare } = sample("user.created");
  const { data } = bare;
  const created = Date.now() - 60_000;
  const dated = { ...data, created_at: created, updated_at: created };

  const unusual: Record<string, object> = {
    "with the id of a primary email address that is not in its list": {
      ...bare,
      timestamp,
      data: { ...data, email_addresses: [], primary_email_address_id: "idn_2g7np7Hrk0SN6kj5EDMLDaKNL0S" },
    },
    "with ids in unknown formats": {
      ...bare,
      timestamp,
      instance_id: "ins_123",
      data: { ...data, id: "29w83sxmDNGwOuEthce5gg56FcC", primary_email_address_id: "x" },
    },
    "without a timestamp": { ...bare, instance_id, event_attributes, data: dated },
    "with null as its timestamp": { ...bare, timestamp: null, instance_id, event_attributes, data: dated },
    "without an instance_id": { ...bare, timestamp, event_attributes },
    "with null as its instance_id": { ...bare, timestamp, instance_id: null, event_attributes },
    "without event_attributes": { ...bare, timestamp, instance_id },
    "with null as its event_attributes": { ...bare, timestamp, instance_id, event_attributes: null },
    "with only a type and data": { type: bare.type, data: dated },
    "with a timestamp in seconds": { ...bare, timestamp: Math.floor(timestamp / 1_000) },
    "with unknown properties": {
      ...bare,
      timestamp,
      api_version: "2030-01-01",
      data: { ...data, passkeys: [1] },
    },
  };

  for (const [name, event] of Object.entries(unusual))
    test(`(${name}) is answered 200 and handled, also by the repository's example handler`, async () => {
      await using server = await serverWith({ ...(await exampleHandler()), "[...event].ts": LOGGING_HANDLER });
      expect(await server.post(event, { id: "msg_1" })).toHaveProperty("status", 200);
      const { runs, at } = await server.ended("msg_1");
      expect(Object.fromEntries(runs.map(({ handler, state }) => [handler, state]))).toEqual({
        "user.created": "done",
        "[...event]": "done",
      });
      const sent = event as { data: typeof dated; timestamp?: number | null };
      const expected = sent.timestamp ? sent.timestamp * (sent.timestamp < 1e11 ? 1_000 : 1) : sent.data.updated_at;
      expect(at).toBe(expected);
      const given = runs.find(({ handler }) => handler === "[...event]")?.attempts[0]?.log?.[0]?.message;
      expect(JSON.parse(given ?? "null")).toMatchObject({ id: sent.data.id, timestamp: expected });
    });

  test("(without a data.id) has no subject and is handled", async () => {
    await using server = await serverWith({ "[...event].ts": LOGGING_HANDLER });
    const result = await deliver(server, "msg_1", { type: "user.created", data: { deleted: true }, timestamp });
    expect(result).toMatchObject({ subject: null, runs: [["[...event]", "done", undefined]] });
  });
});

/** The repository's example handler, and its schema. */
async function exampleHandler() {
  const read = (file: string) => Bun.file(join(import.meta.dir, "../../handlers", file)).text();
  return { "user.created.ts": await read("user.created.ts"), "_schema.sql": await read("_schema.sql") };
}
