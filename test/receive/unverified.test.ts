// Unverified bodies: refused by their headers where possible, and otherwise read within a shared budget.

import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { createUnverifiedBodies } from "../../src/receive/unverified.ts";
import { attackWithHalfBodies } from "../attack/half-bodies.ts";
import {
  post,
  type RawConnection,
  rawConnection,
  rawRequest,
  serverWith,
  signed,
  spawnServer,
  temporaryFolder,
  until,
} from "../harness.ts";
import { TOKEN } from "../inspector/inspected.ts";

const MEGABYTE = 1_048_576;
const EVENT = JSON.stringify(sample("user.created"));

test("a request with invalid headers is answered before its body arrives", async () => {
  await using server = await serverWith({});
  const good = signed(EVENT);
  for (const [code, status, headers] of [
    ["missing_headers", 400, { "svix-id": "msg_1" }],
    ["bad_id", 400, { ...good, "svix-id": "msg.1" }],
    ["bad_timestamp", 400, { ...good, "svix-timestamp": "now" }],
    ["no_match", 400, { ...good, "svix-signature": "v1,short= v2,x" }],
    ["body_too_large", 413, { ...good, "content-length": "9999999" }],
  ] as const) {
    using connection = await rawConnection(server.port);
    connection.write(rawRequest("POST", "/api/webhooks", { "content-length": "1000", ...headers }));
    expect(await connection.answer()).toEqual({ status, body: `{"error":"${code}"}` });
  }
});

for (const [name, attack] of [
  ["bodies of 1 MB", { requests: 2_000, bytes: MEGABYTE }],
  ["bodies of 1 MB without a length", { requests: 2_000, bytes: MEGABYTE, chunked: true }],
  ["bodies of 60 KB", { requests: 2_000, bytes: 60_000 }],
] as const)
  test(`2,000 unfinished ${name} take less than 256 MB, and valid deliveries are answered in time`, async () => {
    await using folder = await temporaryFolder();
    await using server = await spawnServer(folder.path);
    const { peak, good, open } = await attackWithHalfBodies(server, attack);
    expect(peak).toBeLessThan(256 * MEGABYTE);
    expect(good.filter(({ status }) => status !== 200)).toEqual([]);
    // Tens of milliseconds on a quiet machine. Svix gives up after 15 s.
    expect(Math.max(...good.map(({ ms }) => ms))).toBeLessThan(5_000);
    expect(good.length).toBeGreaterThan(10);
    // Dropped requests are answered, and their connections closed.
    expect(open).toBeLessThan(700);
    expect(server.output()).toContain('"code":"body_dropped","status":408');
    expect(server.process.exitCode).toBeNull();
  }, 60_000);

/** A server that reads unverified bodies and answers with their size, or with the reason why it did not read them. */
function bodyServer(limits: { maxBytes: number; maxBodies: number }, max = 200_000) {
  const bodies = createUnverifiedBodies(max, limits);
  let started = 0;
  let finished = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      started += 1;
      const read = await bodies.read(request, max).finally(() => (finished += 1));
      return typeof read === "string"
        ? new Response(read, { status: 408, headers: { connection: "close" } })
        : new Response(String(read.length));
    },
  });
  return {
    port: server.port!,
    started: () => started,
    finished: () => finished,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** Sends a request with the first byte of its body, and waits until the server reads it. */
async function beginBody(server: ReturnType<typeof bodyServer>, bytes: number): Promise<RawConnection> {
  const connection = await rawConnection(server.port);
  const before = server.started();
  connection.write(rawRequest("POST", "/", { "content-length": String(bytes) }, "x"));
  await until("the server to read the body", () => server.started() > before || undefined);
  return connection;
}

test("the oldest of too many unfinished bodies is dropped, and the others can be finished", async () => {
  await using server = bodyServer({ maxBytes: 1_000, maxBodies: 3 });
  const bodies = [];
  for (let n = 0; n < 5; n += 1) bodies.push(await beginBody(server, 10));
  expect(await Promise.all(bodies.slice(0, 2).map((body) => body.answer()))).toEqual([
    { status: 408, body: "dropped" },
    { status: 408, body: "dropped" },
  ]);
  await bodies[0]!.closed;
  for (const body of bodies.slice(2)) {
    body.write("x".repeat(9));
    expect(await body.answer()).toEqual({ status: 200, body: "10" });
  }
});

test("declared sizes count against the budget until the body ends or its connection is closed", async () => {
  await using server = bodyServer({ maxBytes: 1_000, maxBodies: 100 });
  const [first, second] = [await beginBody(server, 600), await beginBody(server, 600)];
  expect(await first.answer()).toEqual({ status: 408, body: "dropped" });
  second.write("x".repeat(599));
  expect(await second.answer()).toEqual({ status: 200, body: "600" });
  const [third, aborted] = [await beginBody(server, 500), await beginBody(server, 500)];
  const finished = server.finished();
  aborted[Symbol.dispose]();
  await until("the end of the aborted body", () => server.finished() > finished || undefined);
  const fourth = await beginBody(server, 500);
  for (const body of [third, fourth]) {
    body.write("x".repeat(499));
    expect(await body.answer()).toEqual({ status: 200, body: "500" });
  }
});

test("unfinished large bodies do not cause small ones to be dropped", async () => {
  await using server = bodyServer({ maxBytes: 200_000, maxBodies: 100 });
  const small = await beginBody(server, 10);
  for (let n = 0; n < 10; n += 1) await beginBody(server, 150_000);
  small.write("x".repeat(9));
  expect(await small.answer()).toEqual({ status: 200, body: "10" });
});

test("complete bodies are never dropped, even when many arrive at once and other bodies are unfinished", async () => {
  await using server = bodyServer({ maxBytes: 200_000, maxBodies: 4 });
  for (let n = 0; n < 4; n += 1) await beginBody(server, 10);
  const connections = await Promise.all(Array.from({ length: 300 }, () => rawConnection(server.port)));
  for (const connection of connections) connection.write(rawRequest("POST", "/", {}, "x".repeat(1_000)));
  const answers = await Promise.all(connections.map((connection) => connection.answer()));
  expect(answers.filter(({ status, body }) => status !== 200 || body !== "1000")).toEqual([]);
  for (const connection of connections) connection[Symbol.dispose]();
});

test("a body without a content-length is read completely, or refused as soon as it is too large", async () => {
  await using server = bodyServer({ maxBytes: 400_000, maxBodies: 4 });
  const chunk = (size: number) => `${size.toString(16)}\r\n${"x".repeat(size)}\r\n`;
  for (const [size, answer] of [
    [10, { status: 200, body: "10" }],
    [100_000, { status: 200, body: "100000" }],
    [200_001, { status: 408, body: "too_large" }],
  ] as const) {
    using connection = await rawConnection(server.port);
    connection.write(rawRequest("POST", "/", { "transfer-encoding": "chunked" }));
    connection.write(chunk(size));
    await Bun.sleep(20);
    if (answer.status === 200) connection.write("0\r\n\r\n");
    expect(await connection.answer()).toEqual(answer);
  }
});

test("unfinished sign-ins to the inspector share the budget and are limited in size", async () => {
  await using server = await serverWith({}, { INSPECTOR_TOKEN: TOKEN });
  const port = Number(new URL(server.inspectorUrl!).port);
  const headers = { host: `127.0.0.1:${port}`, origin: `http://127.0.0.1:${port}`, "content-type": "application/json" };
  using large = await rawConnection(port);
  large.write(rawRequest("POST", "/api/sign-in", { ...headers, "content-length": "4097" }));
  expect(await large.answer()).toEqual({ status: 413, body: '{"error":"body_too_large"}' });

  using oldest = await rawConnection(port);
  oldest.write(rawRequest("POST", "/api/sign-in", { ...headers, "content-length": "100" }, "{"));
  // A server that has answered a later request has read this one.
  await fetch(server.inspectorUrl!, { keepalive: false });
  const webhooks = await Promise.all(Array.from({ length: 1_024 }, () => rawConnection(server.port)));
  for (const connection of webhooks)
    connection.write(rawRequest("POST", "/api/webhooks", { ...signed(EVENT), "content-length": "100" }, "{"));
  expect(await oldest.answer()).toEqual({ status: 408, body: '{"error":"body_dropped"}' });
  expect((await post(server.url, EVENT)).status).toBe(200);
  await until("the log line", () => server.lines.find(({ code }) => code === "body_dropped"));
  for (const connection of webhooks) connection[Symbol.dispose]();

  const token = JSON.stringify({ token: TOKEN });
  const signIn = await fetch(`${server.inspectorUrl}/api/sign-in`, { method: "POST", headers, body: token });
  expect(signIn.status).toBe(204);
}, 20_000);
