// The public port: which requests are stored and handled, which are refused, and the log line of each.

import { describe, expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { type RefusalCode, refusals } from "../../src/errors.ts";
import { parseSecrets } from "../../src/receive/verify.ts";
import { post, rawExchange, rawRequest, SECRET, serverWith, signed, signedBytes, type TestServer } from "../harness.ts";
import { EVENT, linesOf, storedLines } from "./webhook-server.ts";

const OTHER_SECRET = "whsec_YW5vdGhlciBzZWNyZXQgZm9yIHRlc3RzIG9ubHkhIQ==";

/** Posts a body unchanged; signed, unless other headers are given. */
function send(url: string, body: string | Uint8Array<ArrayBuffer>, headers?: Record<string, string>) {
  const bytes = Buffer.from(body);
  return fetch(url, { method: "POST", body: bytes, headers: headers ?? signedBytes(bytes) });
}

/** A valid event of the given size in bytes. */
function eventOf(bytes: number): string {
  const frame = JSON.stringify({ type: "user.created", data: { id: "user_1", pad: "" } });
  return frame.replace('"pad":""', `"pad":"${"x".repeat(bytes - frame.length)}"`);
}

describe("a good request", () => {
  test("is stored, answered and handled", async () => {
    await using server = await serverWith({
      "user.created.ts": `import { on } from "bellhop"; export default on("user.created", ({ data, log }) => log.info(data.id));`,
    });
    const event = sample("user.created");
    const response = await server.post(event, { id: "msg_1" });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ id: "msg_1", status: "accepted" });
    const { runs, receipts } = await server.ended("msg_1");
    expect(receipts).toBe(1);
    expect(runs).toMatchObject([
      { handler: "user.created", state: "done", attempts: [{ log: [{ message: event.data.id }] }] },
    ]);
    expect(storedLines(server)).toMatchObject([{ id: "msg_1", type: "user.created", subject: event.data.id }]);
  });

  test("that is a duplicate is answered with the states of its runs and the command that replays it", async () => {
    await using server = await serverWith({
      "user.created.ts": "export default () => {}",
      "user.created/crm.ts": `import { NonRetriableError } from "bellhop"; export default () => { throw new NonRetriableError("no") }`,
    });
    await server.post(EVENT, { id: "msg_1" });
    await server.ended("msg_1");
    const response = await server.post(EVENT, { id: "msg_1" });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      id: "msg_1",
      status: "duplicate",
      runs: { "user.created": "done", "user.created/crm": "dead" },
      replay: "It is stored and was not run again. To run it again: bun replay msg_1",
    });
    const { receipts, runs } = await server.ended("msg_1");
    expect(receipts).toBe(2);
    expect(runs).toHaveLength(2);
  });

  test("of an unknown event type is accepted and handled", async () => {
    await using server = await serverWith({ "[...event].ts": "export default () => {}" });
    const response = await server.post({ type: "passkey.created", data: { id: "passkey_1" } }, { id: "msg_1" });
    expect(await response.json()).toEqual({ id: "msg_1", status: "accepted" });
    expect((await server.ended("msg_1")).runs).toMatchObject([{ handler: "[...event]", state: "done" }]);
  });

  test("without a handler is stored, answered 200 and logged as such", async () => {
    await using server = await serverWith({});
    const response = await server.post(EVENT, { id: "msg_1" });
    expect(await response.json()).toEqual({ id: "msg_1", status: "accepted" });
    expect(await server.get("msg_1")).toMatchObject({ type: "user.created", subject: "user_1", runs: [] });
    expect(storedLines(server)).toMatchObject([{ msg: "user.created stored, no handler for it yet" }]);
    expect(await (await server.post(EVENT, { id: "msg_1" })).json()).toMatchObject({ status: "duplicate", runs: {} });
  });

  test("may carry webhook-* headers instead of svix-*", async () => {
    await using server = await serverWith({});
    const headers = Object.fromEntries(
      Object.entries(signed(EVENT, { id: "msg_1" })).map(([name, value]) => [name.replace("svix-", "webhook-"), value]),
    );
    expect(await (await send(server.url, EVENT, headers)).json()).toEqual({ id: "msg_1", status: "accepted" });
  });

  test("may be signed with either secret during a rotation, and with no third one", async () => {
    await using server = await serverWith({}, { CLERK_WEBHOOK_SIGNING_SECRET: `${SECRET}, ${OTHER_SECRET}` });
    const third = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
    const answers = await Promise.all(
      [SECRET, OTHER_SECRET, third].map((secret) => server.post(EVENT, { secret }).then(({ status }) => status)),
    );
    expect(answers).toEqual([200, 200, 400]);
  });

  test("must be signed with the new secret as soon as the server uses it", async () => {
    await using server = await serverWith({});
    server.useSecrets(parseSecrets(OTHER_SECRET));
    expect((await server.post(EVENT, { secret: OTHER_SECRET })).status).toBe(200);
    expect((await server.post(EVENT, { secret: SECRET })).status).toBe(400);
  });

  test("may begin with a byte order mark", async () => {
    await using server = await serverWith({ "user.created.ts": "export default () => {}" });
    const body = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(EVENT)]);
    expect((await send(server.url, body, signedBytes(body, { id: "msg_1" }))).status).toBe(200);
    expect(await server.ended("msg_1")).toMatchObject({ subject: "user_1", runs: [{ state: "done" }] });
  });

  test("may have MAX_BODY_BYTES, with and without a content-length", async () => {
    await using server = await serverWith({}, { MAX_BODY_BYTES: "2048" });
    const body = eventOf(2_048);
    expect(Buffer.byteLength(body)).toBe(2_048);
    expect((await send(server.url, body)).status).toBe(200);
    expect((await sendChunked(server.url, body)).status).toBe(200);
  });
});

/** Sends a body in chunks, without a content-length. */
function sendChunked(url: string, body: string) {
  async function* chunks() {
    yield Buffer.from(body.slice(0, 1_000));
    yield Buffer.from(body.slice(1_000));
  }
  return fetch(url, { method: "POST", body: chunks(), headers: signed(body) });
}

/**
 * A request for each refusal that a complete server can give. `unavailable`, `internal` and `shutting_down` are tested
 * in availability.test.ts, `body_dropped` in unverified.test.ts.
 */
const provocations: Record<
  Exclude<RefusalCode, "unavailable" | "internal" | "shutting_down" | "body_dropped">,
  (server: TestServer) => Promise<Response>
> = {
  missing_headers: ({ url }) => send(url, EVENT, { "svix-id": "msg_1" }),
  bad_id: ({ url }) => send(url, EVENT, signed(EVENT, { id: "msg.1" })),
  bad_timestamp: ({ url }) => send(url, EVENT, { ...signed(EVENT, { id: "msg_1" }), "svix-timestamp": "now" }),
  no_match: ({ url }) => post(url, EVENT, { id: "msg_1", secret: OTHER_SECRET }),
  too_old: ({ url }) => post(url, EVENT, { id: "msg_1", at: new Date(Date.now() - 7_201_000) }),
  too_new: ({ url }) => post(url, EVENT, { id: "msg_1", at: new Date(Date.now() + 7_201_000) }),
  not_an_event: ({ url }) => post(url, "[]", { id: "msg_1" }),
  body_too_large: ({ url }) => post(url, eventOf(1_048_577), { id: "msg_1" }),
  method_not_allowed: ({ url }) => fetch(url, { method: "PUT", body: EVENT, headers: signed(EVENT, { id: "msg_1" }) }),
  wrong_path: ({ url }) => post(new URL("/webhooks", url).href, EVENT, { id: "msg_1" }),
  not_found: ({ url }) => fetch(new URL("/", url)),
};

describe("a refused request", () => {
  // Port scanners must not fill the log.
  const notLogged: RefusalCode[] = ["method_not_allowed", "not_found"];

  for (const [code, provoke] of Object.entries(provocations) as [
    keyof typeof provocations,
    typeof provocations.no_match,
  ][])
    test(`${code} gets its status and its code, is not stored, and has a log line with the remedy`, async () => {
      await using server = await serverWith({});
      const response = await provoke(server);
      const { status, message, remedy } = refusals[code];
      expect(response.status).toBe(status);
      const body = await response.text();
      if (code === "method_not_allowed") expect(body).toBe(`${message}\n`);
      else expect(body).toBe(`{"error":"${code}"}`);
      expect(await server.get("msg_1")).toBeUndefined();
      expect(storedLines(server)).toEqual([]);

      const lines = linesOf(server, code);
      expect(lines).toHaveLength(notLogged.includes(code) ? 0 : 1);
      for (const { msg, ...line } of lines) {
        expect(line).toMatchObject({ level: 40, status, count: 1, id: code === "bad_id" ? "msg.1" : "msg_1" });
        expect(msg).toStartWith(`refused: ${message}`);
        expect(msg).toEndWith(remedy);
      }
    });

  test("is tested for every code in the table", () => {
    expect(
      [...Object.keys(provocations), "unavailable", "internal", "shutting_down", "body_dropped"].toSorted(),
    ).toEqual(Object.keys(refusals).toSorted());
  });

  test("with a wrong clock is logged with the difference", async () => {
    await using server = await serverWith({});
    await provocations.too_old(server);
    await provocations.too_new(server);
    expect(linesOf(server, "too_old")[0]).toMatchObject({ msg: expect.stringContaining("(by 2 h)") });
    expect(linesOf(server, "too_new")[0]).toMatchObject({ msg: expect.stringContaining("(by 2 h)") });
    expect(linesOf(server, "too_old")[0]?.["skewSeconds"]).toBeWithin(-7_203, -7_200);
    expect(linesOf(server, "too_new")[0]?.["skewSeconds"]).toBeWithin(7_199, 7_202);
  });

  test("without one of the three headers is missing_headers", async () => {
    await using server = await serverWith({});
    for (const missing of ["svix-id", "svix-timestamp", "svix-signature"]) {
      const headers = Object.fromEntries(Object.entries(signed(EVENT)).filter(([name]) => name !== missing));
      expect(await (await send(server.url, EVENT, headers)).text()).toBe('{"error":"missing_headers"}');
    }
  });

  test("with a mix of svix-* and webhook-* headers is missing_headers", async () => {
    await using server = await serverWith({});
    const { "svix-id": id, ...rest } = signed(EVENT);
    expect(await (await send(server.url, EVENT, { ...rest, "webhook-id": id })).json()).toEqual({
      error: "missing_headers",
    });
  });

  test("whose body was changed in transit is no_match, and the log names proxies as a possible cause", async () => {
    await using server = await serverWith({});
    const response = await send(server.url, EVENT.replace("user_1", "user_2"), signed(EVENT));
    expect(await response.json()).toEqual({ error: "no_match" });
    expect(linesOf(server, "no_match")[0]).toMatchObject({ msg: expect.stringMatching(/a proxy.*changes the body/) });
  });

  test("is listed with its code, time, size, address and id, and nothing else", async () => {
    await using server = await serverWith({});
    const before = Date.now();
    await provocations.no_match(server);
    const [refused] = server.receiver.refused();
    const address = "127.0.0.1";
    expect(refused).toEqual({
      code: "no_match",
      at: expect.any(Number),
      size: EVENT.length,
      claimedId: "msg_1",
      address,
    });
    expect(refused?.at).toBeWithin(before, Date.now() + 1);
  });
});

describe("a signed body that is not a Clerk event", () => {
  const bodies: Record<string, string | Uint8Array<ArrayBuffer>> = {
    empty: "",
    text: "hello",
    "a truncated event": EVENT.slice(0, -1),
    "an array": "[]",
    "an array of events": `[${EVENT}]`,
    null: "null",
    "a string": '"user.created"',
    "a number": "1",
    true: "true",
    "without a type": '{"data":{}}',
    "with an empty type": '{"type":"","data":{}}',
    "with a number for a type": '{"type":1,"data":{}}',
    "with null for a type": '{"type":null,"data":{}}',
    "without data": '{"type":"user.created"}',
    "with an array for data": '{"type":"user.created","data":[]}',
    "with null for data": '{"type":"user.created","data":null}',
    "with a string for data": '{"type":"user.created","data":"user_1"}',
    "invalid UTF-8": Buffer.concat([
      Buffer.from('{"type":"a","data":{"name":"'),
      Buffer.from([0xc3, 0x28]),
      Buffer.from('"}}'),
    ]),
    "a surrogate in UTF-8": Buffer.concat([
      Buffer.from('{"type":"'),
      Buffer.from([0xed, 0xa0, 0x80]),
      Buffer.from('","data":{}}'),
    ]),
    "nested 100,000 deep": "[".repeat(100_000),
  };

  for (const [name, body] of Object.entries(bodies))
    test(`(${name}) is answered 422 and not stored`, async () => {
      await using server = await serverWith({});
      const bytes = Buffer.from(body);
      const response = await send(server.url, bytes, signedBytes(bytes, { id: "msg_1" }));
      expect(response.status).toBe(422);
      expect(await response.text()).toBe('{"error":"not_an_event"}');
      expect(await server.get("msg_1")).toBeUndefined();
      expect(linesOf(server, "not_an_event")).toHaveLength(1);
    });
});

describe("a body over the limit", () => {
  test("is answered 413 with a content-length, and the log names the setting", async () => {
    await using server = await serverWith({}, { MAX_BODY_BYTES: "2048" });
    const response = await post(server.url, eventOf(2_049), { id: "msg_1" });
    expect(response.status).toBe(413);
    expect(response.headers.get("content-type")).toStartWith("application/json");
    expect(await response.text()).toBe('{"error":"body_too_large"}');
    expect(await server.get("msg_1")).toBeUndefined();
    expect(linesOf(server, "body_too_large")).toMatchObject([
      { size: 2_049, id: "msg_1", msg: expect.stringContaining("MAX_BODY_BYTES") },
    ]);
  });

  test("is answered 413 without a content-length", async () => {
    await using server = await serverWith({}, { MAX_BODY_BYTES: "2048" });
    const response = await sendChunked(server.url, eventOf(2_049));
    expect(response.status).toBe(413);
    expect(await response.text()).toBe('{"error":"body_too_large"}');
    expect(linesOf(server, "body_too_large")).toHaveLength(1);
    expect(storedLines(server)).toEqual([]);
  });

  test("is refused before its body is sent", async () => {
    await using server = await serverWith({});
    const head = rawRequest("POST", "/api/webhooks", { ...signed(EVENT), "content-length": "900000000" });
    expect(await rawExchange(server.port, head)).toEqual({ status: 413, body: '{"error":"body_too_large"}' });
  });
});
