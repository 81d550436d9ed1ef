// A server under attack: valid deliveries are answered throughout, and memory and log stay bounded.
// HOSTILE_REQUESTS sets the number of requests with bad signatures.

import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";

import { sample } from "../../src/clerk/samples.ts";
import { type Answer, sendDeliveries } from "../attack/good-client.ts";
import {
  post,
  rawConnection,
  rawRequest,
  signed,
  type SpawnedServer,
  spawnServer,
  temporaryFolder,
  until,
} from "../harness.ts";

const FLOOD = Number(process.env["HOSTILE_REQUESTS"] ?? 100_000);
/** Relative to the memory after the first tenth of an attack. */
const MAX_MEMORY_GROWTH = 1.3;

interface AttackedServer extends SpawnedServer {
  port: number;
  /** Resident memory in bytes. */
  memory(): Promise<number>;
  lines(): Record<string, unknown>[];
}

/** Attacks a new server and asserts that it answers 200 to a client that sends an event every 50 ms. */
async function underAttack(attack: (server: AttackedServer) => Promise<void>) {
  await using folder = await temporaryFolder();
  await using spawned = await spawnServer(folder.path);
  const server: AttackedServer = {
    ...spawned,
    port: Number(new URL(spawned.url).port),
    memory: () => residentBytes(spawned.process.pid),
    lines: () => linesOf(spawned.output()),
  };

  const client = sendDeliveries(spawned.url, 50);
  let answers: Answer[];
  try {
    await attack(server);
  } finally {
    answers = await client.stop();
  }
  expect((await post(spawned.url, sample("user.created"))).status).toBe(200);
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(5_000);
  expect(spawned.process.exitCode).toBeNull();
  // The server must log no error of its own.
  expect(server.lines().filter(({ level }) => Number(level) >= 50)).toEqual([]);
}

/** Resident memory; read without another process on Linux. */
async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => undefined);
  const kilobytes = status ? /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] : await Bun.$`ps -o rss= -p ${pid}`.text();
  return Number(kilobytes) * 1_024;
}

/** Memory may peak for a moment, but must return to the limit. */
async function expectSteadyMemory(server: AttackedServer, afterFirstTenth: number) {
  const limit = afterFirstTenth * MAX_MEMORY_GROWTH;
  const [first, last] = [afterFirstTenth, await server.memory()].map((bytes) => Math.round(bytes / 1_048_576));
  console.log(`memory: ${first} MB after the first tenth, ${last} MB at the end`);
  await until(`at most ${MAX_MEMORY_GROWTH} × ${first} MB of memory`, async () => (await server.memory()) <= limit);
}

function linesOf(output: string): Record<string, unknown>[] {
  // The last line may be incomplete.
  return output
    .slice(0, output.lastIndexOf("\n") + 1)
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** Waits until this many refusals with a code are logged, and returns the number of lines that report them. */
async function linesAboutRefusals(server: AttackedServer, code: string, requests: number): Promise<number> {
  const lines = () => server.lines().filter((line) => line["code"] === code);
  const count = () => lines().reduce((sum, line) => sum + Number(line["count"]), 0);
  await until(`the log to report ${requests} ${code}`, () => count() >= requests || undefined);
  expect(count()).toBe(requests);
  return lines().length;
}

/** Runs a task for each number below `times`, with `concurrency` tasks at a time. */
async function inParallel(concurrency: number, times: number, task: (n: number) => Promise<void>) {
  let next = 0;
  const runTasks = async () => {
    while (next < times) await task(next++);
  };
  await Promise.all(Array.from({ length: concurrency }, runTasks));
}

test.concurrent(
  "slow and unfinished requests are dropped within 15 seconds",
  async () => {
    const head = "POST /api/webhooks HTTP/1.1\r\nhost: bellhop.test\r\n";
    const long = "content-length: 1000\r\n\r\n";
    const chunked = "transfer-encoding: chunked\r\n\r\n";
    /** The bytes that are sent at first, and those that follow every second. */
    const slow: Record<string, [string, string?]> = {
      nothing: [""],
      "half of the request line": ["POST /api"],
      "half of the headers": [head],
      "an endless header": [`${head}x: `, "x"],
      "a header per second": [head, "x: y\r\n"],
      "half of the body": [`${head}${long}{"type":`],
      "a byte of the body per second": [head + long, "x"],
      "half of a chunk": [`${head}${chunked}ff\r\n{"type":`],
      "a chunk per second": [head + chunked, "1\r\nx\r\n"],
      "nothing after a valid request": ["GET /health HTTP/1.1\r\nhost: bellhop.test\r\n\r\n"],
    };

    await underAttack(async ({ port }) => {
      const start = performance.now();
      const dropped = Object.entries(slow).flatMap(([name, [first, drip]]) =>
        Array.from({ length: 10 }, async () => {
          using connection = await rawConnection(port);
          connection.write(first);
          const timer = drip && setInterval(() => connection.write(drip), 1_000);
          await Promise.race([connection.closed, Bun.sleep(16_000)]);
          if (timer) clearInterval(timer);
          return { name, seconds: (performance.now() - start) / 1_000 };
        }),
      );
      expect((await Promise.all(dropped)).filter(({ seconds }) => seconds > 15)).toEqual([]);
    });
  },
  60_000,
);

test.concurrent(
  "bodies of 10 MB, with and without a content-length, are neither read completely nor kept in memory",
  async () => {
    const requests = 1_000;
    const block = Buffer.alloc(65_536, "a");
    const chunk = Buffer.concat([Buffer.from("10000\r\n"), block, Buffer.from("\r\n")]);

    /** Sends as much as the server reads, and returns its answer when it has closed the connection. */
    const sendLarge = (port: number, hasLength: boolean) =>
      new Promise<string>((resolve) => {
        const length = hasLength ? { "content-length": "10485760" } : { "transfer-encoding": "chunked" };
        const socket = connect(port, "127.0.0.1");
        let answer = "";
        let left = 160;
        const sendMore = () => {
          while (left-- > 0) {
            if (socket.write(hasLength ? block : chunk)) continue;
            socket.once("drain", sendMore);
            break;
          }
        };
        socket.on("connect", () => {
          socket.write(rawRequest("POST", "/api/webhooks", { ...signed("{}"), ...length }));
          sendMore();
        });
        socket.on("data", (bytes) => (answer += bytes.toString()));
        // The server closes the connection while the body is still being sent.
        socket.on("error", () => undefined);
        socket.on("close", () => resolve(answer));
      });

    await underAttack(async (server) => {
      let afterFirstTenth = 0;
      await inParallel(4, requests, async (n) => {
        const answer = await sendLarge(server.port, n % 2 === 0);
        if (answer !== "") expect(answer).toMatch(/^HTTP\/1\.1 413 [^]*\{"error":"body_too_large"\}$/);
        if (n === requests / 10) afterFirstTenth = await server.memory();
      });
      await expectSteadyMemory(server, afterFirstTenth);
      await linesAboutRefusals(server, "body_too_large", requests);
    });
  },
  60_000,
);

test(`${FLOOD.toLocaleString("en")} requests with bad signatures are refused, logged once a second, and do not grow the memory`, async () => {
  const connections = 8;
  const pipelined = 16;
  const body = JSON.stringify(sample("user.created"));
  const headers = { ...signed(body), "svix-signature": `v1,${"A".repeat(43)}=` };
  const batch = Buffer.concat(
    Array.from({ length: pipelined }, () => rawRequest("POST", "/api/webhooks", headers, body)),
  );
  const requestLength = batch.length / pipelined;
  const refusal = Buffer.from('{"error":"no_match"}');

  await underAttack(async (server) => {
    let answered = 0;
    const flood = (requests: number) =>
      new Promise<void>((resolve, reject) => {
        const socket = connect(server.port, "127.0.0.1");
        let unsent = requests;
        let waiting = 0;
        let rest = Buffer.alloc(0);
        const next = () => {
          if (unsent === 0) {
            socket.end();
            return resolve();
          }
          waiting = Math.min(pipelined, unsent);
          unsent -= waiting;
          socket.write(batch.subarray(0, waiting * requestLength));
        };
        socket.on("connect", next);
        socket.on("error", reject);
        socket.on("close", () =>
          unsent + waiting > 0 ? reject(new Error("the server closed the connection")) : undefined,
        );
        socket.on("data", (bytes: Buffer) => {
          const text = Buffer.concat([rest, bytes]);
          let read = 0;
          for (let at = text.indexOf(refusal); at !== -1; at = text.indexOf(refusal, read)) {
            read = at + refusal.length;
            waiting -= 1;
            answered += 1;
          }
          rest = text.subarray(read);
          if (waiting === 0) next();
        });
      });

    const start = performance.now();
    const firstTenth = until("the first tenth of the answers", () => answered >= FLOOD / 10 || undefined, 60_000).then(
      () => server.memory(),
    );
    const shares = Array.from({ length: connections }, (_, n) => Math.floor((FLOOD + n) / connections));
    await Promise.all(shares.map(flood));
    await expectSteadyMemory(server, await firstTenth);
    const seconds = Math.ceil((performance.now() - start) / 1_000);

    expect(answered).toBe(FLOOD);
    expect(await linesAboutRefusals(server, "no_match", FLOOD)).toBeLessThanOrEqual(seconds + 1);
  });
}, 90_000);

test("requests with too many or too large headers are refused", async () => {
  const headers = (count: number, value: string) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`x-${n}`, value]));
  const floods = [
    rawRequest("POST", "/api/webhooks", headers(5_000, "y")),
    rawRequest("POST", "/api/webhooks", headers(100, "y".repeat(10_000))),
    rawRequest("POST", "/api/webhooks", { "svix-id": "y".repeat(1_000_000) }),
    rawRequest("POST", `/${"y".repeat(1_000_000)}`),
  ];
  await underAttack(async (server) => {
    let afterFirstTenth = 0;
    await inParallel(8, 400, async (n) => {
      using connection = await rawConnection(server.port);
      connection.write(floods[n % floods.length]!);
      await connection.closed;
      if (connection.received() !== "") expect(connection.received()).toMatch(/^HTTP\/1\.1 4\d\d /);
      if (n === 40) afterFirstTenth = await server.memory();
    });
    await expectSteadyMemory(server, afterFirstTenth);
  });
}, 60_000);

test("bodies with invalid UTF-8 and a wrong signature are refused", async () => {
  await underAttack(async ({ port }) => {
    using connection = await rawConnection(port);
    for (let n = 0; n < 1_000; n++) {
      const body = Buffer.concat([Buffer.from([0xff, 0xfe, 0x00]), randomBytes(n)]);
      connection.write(rawRequest("POST", "/api/webhooks", signed("{}"), body));
      expect(await connection.answer()).toEqual({ status: 400, body: '{"error":"no_match"}' });
    }
  });
}, 60_000);

test("invalid HTTP is answered with an error or a closed connection", async () => {
  const garbage = [
    randomBytes(10_000),
    // A TLS handshake and the preface of HTTP/2.
    Buffer.concat([Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]), randomBytes(502)]),
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Buffer.from("GET / HTTP/9.9\r\n\r\n"),
    Buffer.from("\0".repeat(5_000)),
    Buffer.from("SSH-2.0-OpenSSH_9.6\r\n"),
    Buffer.from("POST /api/webhooks HTTP/1.1\r\n\r\n"),
    rawRequest("POST", "/api/webhooks", { "content-length": "-1" }),
    rawRequest("POST", "/api/webhooks", { "content-length": "99999999999999999999" }),
    rawRequest("POST", "/api/webhooks", { "content-length": "5", "transfer-encoding": "chunked" }, "0\r\n\r\n"),
    rawRequest("POST", "/api/webhooks", { "transfer-encoding": "chunked" }, "ffffffffffffffff\r\nx"),
    rawRequest("POST", "/api/webhooks", { "transfer-encoding": "chunked" }, "not a number\r\nx\r\n"),
    rawRequest("POST", "/api/webhooks", { "svix-id": "msg_\0" }, "{}"),
  ];
  await underAttack(async ({ port }) => {
    await inParallel(8, garbage.length * 20, async (n) => {
      using connection = await rawConnection(port);
      connection.write(garbage[n % garbage.length]!);
      await Promise.race([connection.closed, Bun.sleep(200)]);
      const received = connection.received();
      if (received !== "")
        expect({ n: n % garbage.length, received }).toMatchObject({
          received: expect.stringMatching(/^HTTP\/1\.1 [45]\d\d /),
        });
    });
  });
}, 60_000);

test("requests that are aborted in the middle of the body use no memory and store nothing", async () => {
  const body = JSON.stringify(sample("user.created"));
  await underAttack(async (server) => {
    let afterFirstTenth = 0;
    await inParallel(8, 1_000, async (n) => {
      const withLength = rawRequest(
        "POST",
        "/api/webhooks",
        { ...signed(body, { id: `msg_aborted_${n}` }), "content-length": "500000" },
        body,
      );
      const chunked = rawRequest(
        "POST",
        "/api/webhooks",
        { ...signed(body, { id: `msg_aborted_${n}` }), "transfer-encoding": "chunked" },
        `ffff\r\n${body}`,
      );
      using connection = await rawConnection(server.port);
      connection.write(n % 2 === 0 ? withLength : chunked);
      await Bun.sleep(n % 3);
      if (n === 100) afterFirstTenth = await server.memory();
    });
    await expectSteadyMemory(server, afterFirstTenth);
    for (const n of [0, 1, 500, 999]) expect(await server.get(`msg_aborted_${n}`)).toBeUndefined();
  });
}, 60_000);

test("pipelined bad requests are each answered, and no pipelined delivery is stored twice", async () => {
  await underAttack(async (server) => {
    using bad = await rawConnection(server.port);
    bad.write(Buffer.concat(Array.from({ length: 200 }, () => rawRequest("POST", "/api/webhooks", {}, "{}"))));
    for (let n = 0; n < 200; n++)
      expect(await bad.answer()).toEqual({ status: 400, body: '{"error":"missing_headers"}' });

    // Bun closes the connection on a request that arrives before an asynchronous answer. Svix does not pipeline.
    const body = JSON.stringify(sample("user.created"));
    const ids = Array.from({ length: 10 }, (_, n) => `msg_${n}`);
    const requests = ids.map((id) => rawRequest("POST", "/api/webhooks", signed(body, { id }), body));
    using good = await rawConnection(server.port);
    good.write(Buffer.concat(requests));
    await Promise.race([good.closed, Bun.sleep(500)]);
    const answered = [...good.received().matchAll(/"id":"(msg_\d)","status":"accepted"/g)].map(([, id]) => id!);
    for (const id of answered) expect(await server.get(id)).toMatchObject({ receipts: 1 });
    for (const id of ids) expect((await post(server.url, body, { id })).status).toBe(200);
    for (const id of ids) expect((await server.get(id))?.receipts).toBeWithin(1, 3);
  });
}, 60_000);
