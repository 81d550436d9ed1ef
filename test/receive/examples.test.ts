// Every event that Clerk sends, from the Dashboard's "Send example" and from our own samples: signed by `svix`,
// through the socket, to a handler, to `done`.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { eventNames } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { serverWith, SHARED, type TestServer } from "../harness.ts";

const EXAMPLES = join(SHARED, "clerk", "examples");

/** Logs what a handler is given. */
const TELLING = `
export default ({ event, data, delivery, log }) =>
  log.info(JSON.stringify({ type: event.type, id: data.id, timestamp: event.timestamp, sample: delivery.sample }));
`;

/** Sends an event, waits for its run, and returns what is stored and what the handler was given. */
async function through(server: TestServer, id: string, event: unknown) {
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
  if (files.length === 0) console.log(`not sent: Clerk's examples, since there are none in ${EXAMPLES}`);
  // What they carry, in seconds: 28 May 2024.
  const at = 1_716_883_200_000;

  test.skipIf(files.length === 0)(
    "are all handled, and known to be samples, with their seconds as milliseconds",
    async () => {
      await using server = await serverWith({ "[...event].ts": TELLING });
      expect(files.map((name) => name.replace(/\.json$/, "")).toSorted()).toEqual([...eventNames].toSorted());
      for (const name of files) {
        const example = await Bun.file(join(EXAMPLES, name)).json();
        const { type, data } = example;
        expect(await through(server, `msg_${type.replace(".", "_")}`, example)).toEqual({
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

  test.skipIf(files.length === 0)("of users are taken by the handler in this repository", async () => {
    await using server = await serverWith(await ownHandler());
    const example = await Bun.file(join(EXAMPLES, "user.created.json")).json();
    expect(await server.post(example, { id: "msg_1" })).toHaveProperty("status", 200);
    expect((await server.ended("msg_1")).runs).toMatchObject([{ handler: "user.created", state: "done" }]);
  });
});

test("each of our own samples is handled, and is no Dashboard example", async () => {
  await using server = await serverWith({ "[...event].ts": TELLING });
  expect(eventNames).toHaveLength(46);
  for (const type of eventNames) {
    const event = sample(type);
    const subject = "id" in event.data ? event.data["id"] : null;
    expect(subject).toBeString();
    expect(await through(server, `msg_${type.replace(".", "_")}`, event)).toEqual({
      type,
      subject,
      at: event.timestamp,
      sample: false,
      runs: [["[...event]", "done", undefined]],
      given: { type, id: subject, timestamp: event.timestamp, sample: false },
    });
  }
});

describe("an event that is odd, as the Dashboard's and old ones are", () => {
  const { timestamp, instance_id, event_attributes, ...bare } = sample("user.created");
  const { data } = bare;
  const created = Date.now() - 60_000;
  const dated = { ...data, created_at: created, updated_at: created };

  const odd: Record<string, object> = {
    "without e-mail addresses, but with a primary one": {
      ...bare,
      timestamp,
      data: { ...data, email_addresses: [], primary_email_address_id: "idn_2g7np7Hrk0SN6kj5EDMLDaKNL0S" },
    },
    "with ids of no known shape": {
      ...bare,
      timestamp,
      instance_id: "ins_123",
      data: { ...data, id: "29w83sxmDNGwOuEthce5gg56FcC", primary_email_address_id: "x" },
    },
    "without a timestamp": { ...bare, instance_id, event_attributes, data: dated },
    "with null for its timestamp": { ...bare, timestamp: null, instance_id, event_attributes, data: dated },
    "without an instance_id": { ...bare, timestamp, event_attributes },
    "with null for its instance_id": { ...bare, timestamp, instance_id: null, event_attributes },
    "without event_attributes": { ...bare, timestamp, instance_id },
    "with null for its event_attributes": { ...bare, timestamp, instance_id, event_attributes: null },
    "with none of them, and no object": { type: bare.type, data: dated },
    "with seconds for its timestamp": { ...bare, timestamp: Math.floor(timestamp / 1_000) },
    "with properties that nobody knows": {
      ...bare,
      timestamp,
      api_version: "2030-01-01",
      data: { ...data, passkeys: [1] },
    },
  };

  for (const [what, event] of Object.entries(odd))
    test(`(${what}) is answered 200 and handled, also by the handler in this repository`, async () => {
      await using server = await serverWith({ ...(await ownHandler()), "[...event].ts": TELLING });
      expect(await server.post(event, { id: "msg_1" })).toHaveProperty("status", 200);
      const { runs, at } = await server.ended("msg_1");
      expect(Object.fromEntries(runs.map(({ handler, state }) => [handler, state]))).toEqual({
        "user.created": "done",
        "[...event]": "done",
      });
      const { data: sent, timestamp: said } = event as { data: typeof dated; timestamp?: number | null };
      const expected = said ? (said < 1e11 ? said * 1_000 : said) : sent.updated_at;
      expect(at).toBe(expected);
      const given = runs.find(({ handler }) => handler === "[...event]")?.attempts[0]?.log?.[0]?.message;
      expect(JSON.parse(given ?? "null")).toMatchObject({ id: sent.id, timestamp: expected });
    });

  test("(without a data.id) has no subject, and is handled", async () => {
    await using server = await serverWith({ "[...event].ts": TELLING });
    const result = await through(server, "msg_1", { type: "user.created", data: { deleted: true }, timestamp });
    expect(result).toMatchObject({ subject: null, runs: [["[...event]", "done", undefined]] });
  });
});

/** The example that this repository comes with, and its table. */
async function ownHandler() {
  const read = (file: string) => Bun.file(join(import.meta.dir, "../../handlers", file)).text();
  return { "user.created.ts": await read("user.created.ts"), "_schema.sql": await read("_schema.sql") };
}
