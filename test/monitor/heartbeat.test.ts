import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { startHeartbeat } from "../../src/monitor/heartbeat.ts";
import { folderWithHandlers, serverWith, spawnServer, until } from "../harness.ts";

/** A check of healthchecks.io: https://healthchecks.io/docs/http_api/ */
function startChecks() {
  const pings: { path: string; method: string; body: string }[] = [];
  const state: { answer: () => Response | Promise<Response> } = { answer: () => new Response("OK") };
  let lastAt = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const body = await request.text();
      lastAt = performance.now();
      pings.push({ path: new URL(request.url).pathname, method: request.method, body });
      return state.answer();
    },
  });
  const url = `http://127.0.0.1:${server.port}/1a2b-uuid`;
  /** As the service shows it: a failure, or a missing ping, makes a check go down; a success makes it go up. */
  function status(graceMs: number): "new" | "up" | "down" {
    const last = pings.at(-1);
    if (!last) return "new";
    return last.path.endsWith("/fail") || performance.now() - lastAt > graceMs ? "down" : "up";
  }
  return { pings, state, url, status, [Symbol.dispose]: () => void server.stop(true) };
}

const GOOD = { path: "/1a2b-uuid", method: "GET", body: "" };

test("pings success while all is well, and failure with the reason while it is not", async () => {
  using checks = startChecks();
  let reason: string | undefined;
  const heartbeat = startHeartbeat({ url: checks.url, trouble: async () => reason, everyMs: 20 });
  try {
    await until("two pings", () => checks.pings.length >= 2);
    expect(checks.pings.every((ping) => Bun.deepEquals(ping, GOOD))).toBe(true);
    reason = "no delivery for 7 h";
    const failed = { path: "/1a2b-uuid/fail", method: "POST", body: reason };
    await until("a failure", () => Bun.deepEquals(checks.pings.at(-1), failed));
    reason = undefined;
    await until("a success", () => Bun.deepEquals(checks.pings.at(-1), GOOD));
  } finally {
    heartbeat.stop();
  }
  const { length } = checks.pings;
  await Bun.sleep(60);
  expect(checks.pings.length).toBeLessThanOrEqual(length + 1);
});

test("the check goes down when the server is killed, and up when it starts again", async () => {
  using checks = startChecks();
  await using folder = await folderWithHandlers();
  const env = { HEARTBEAT_URL: checks.url };
  expect(checks.status(0)).toBe("new");
  const server = await spawnServer(folder.path, { env });
  await until("a ping", () => checks.status(60_000) === "up");
  await server[Symbol.asyncDispose]();
  const { length } = checks.pings;
  await until("a missing ping", () => checks.status(500) === "down");
  expect(checks.pings).toHaveLength(length);
  await using _ = await spawnServer(folder.path, { env });
  await until("a ping", () => checks.status(60_000) === "up" && checks.pings.length > length);
});

test("a state that can't be read is a failure", async () => {
  using checks = startChecks();
  const trouble = () => Promise.reject(new Error("the inbox does not answer"));
  const heartbeat = startHeartbeat({ url: `${checks.url}/?create=1`, trouble, everyMs: 20 });
  await until("a ping", () => checks.pings.length > 0);
  heartbeat.stop();
  expect(checks.pings[0]).toEqual({
    path: "/1a2b-uuid/fail",
    method: "POST",
    body: "the state of the inbox is not known: the inbox does not answer",
  });
});

test("pings that fail or never end are reported once, and retried", async () => {
  using checks = startChecks();
  const reports: (string | undefined)[] = [];
  const onPing = (reason?: string) => void reports.push(reason);
  const trouble = async () => undefined;
  checks.state.answer = () => new Response("down", { status: 503 });
  const heartbeat = startHeartbeat({ url: checks.url, trouble, onPing, everyMs: 20, deadlineMs: 100 });
  try {
    await until("three pings", () => checks.pings.length >= 3);
    checks.state.answer = async () => {
      await Bun.sleep(60_000);
      return new Response();
    };
    const { length } = checks.pings;
    // The next ping begins only when this one was given up.
    await until("two more pings", () => checks.pings.length >= length + 2);
    expect(reports).toEqual(["it answers 503"]);
    checks.state.answer = () => new Response("OK");
    await until("the end of the failure", () => reports.length === 2);
    expect(reports[1]).toBeUndefined();
  } finally {
    heartbeat.stop();
  }
  expect(reports.join()).not.toContain("uuid");
});

test("a server that is not the first does not ping", async () => {
  using checks = startChecks();
  let isFirst = false;
  const heartbeat = startHeartbeat({
    url: checks.url,
    trouble: async () => undefined,
    isOurs: () => isFirst,
    everyMs: 10,
  });
  await Bun.sleep(60);
  expect(checks.pings).toEqual([]);
  isFirst = true;
  await until("a ping", () => checks.pings.length > 0);
  heartbeat.stop();
});

test("a server pings when it starts, and fails while a run is dead", async () => {
  using checks = startChecks();
  const files = {
    "user.created.ts": `import { on } from "bellhop";
      export default on("user.created", { attempts: 1 }, () => { throw new Error("no mail today"); });`,
  };
  await using folder = await folderWithHandlers();
  {
    await using server = await serverWith(files, { HEARTBEAT_URL: checks.url }, folder.path);
    await until("a ping", () => checks.pings.length > 0);
    expect(checks.pings).toEqual([GOOD]);
    await server.post(sample("user.created"), { id: "msg_1" });
    await server.ended("msg_1");
  }
  await using _ = await serverWith(files, { HEARTBEAT_URL: checks.url }, folder.path);
  await until("a failure", () => checks.pings.length > 1);
  expect(checks.pings[1]).toMatchObject({
    path: "/1a2b-uuid/fail",
    body: expect.stringContaining("open problems with dead runs: 1"),
  });
});
