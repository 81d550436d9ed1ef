import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { openSqliteInbox } from "../src/inbox/open.ts";
import { lockDataDir } from "../src/store/data-dir.ts";
import {
  post,
  rawConnection,
  rawRequest,
  serverWith,
  signed,
  spawnServer,
  temporaryFolder,
  until,
  writeHandlers,
} from "./harness.ts";

// Each test starts processes, which is slow on a busy machine.
setDefaultTimeout(60_000);

const event = { type: "user.created", object: "event", data: { id: "user_1", object: "user" } };

for (const signal of ["SIGTERM", "SIGINT"] as const)
  test.concurrent(
    `${signal} lets requests and runs finish, releases the port, socket and lock, and exits with 0`,
    async () => {
      await using folder = await temporaryFolder();
      await writeHandlers(folder.path, {
        "user.created.ts": `export default ({ log }) => { log.info("starting"); return Bun.sleep(500); };`,
      });
      await using server = await spawnServer(folder.path);
      await post(server.url, event, { id: "msg_1" });
      await until("the handler to start", () => server.output().includes("starting"));
      using request = await halfRequest(server.url, "msg_2");

      server.process.kill(signal);
      await Bun.sleep(100);
      request.finish();
      expect(await request.answer()).toMatchObject({ status: 200, body: expect.stringContaining("accepted") });
      expect(await server.process.exited).toBe(0);

      expect(await fetch(server.url).catch(() => "refused")).toBe("refused");
      expect(existsSync(join(folder.path, "data", "bellhop.sock"))).toBe(false);
      const unlock = await lockDataDir(join(folder.path, "data"));
      unlock();
      await using inbox = await openSqliteInbox(join(folder.path, "data"));
      expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
      expect(await inbox.get("msg_2")).toMatchObject({ id: "msg_2" });
    },
  );

test.concurrent(
  "a run that exceeds SHUTDOWN_SECONDS is aborted, and starts as attempt 1 after the restart",
  async () => {
    await using folder = await temporaryFolder();
    // The first attempt waits for the abort, and the next one returns at once.
    const handler = `
    import { appendFileSync, existsSync } from "node:fs";
    const file = import.meta.dir + "/../calls.log";
    export default async ({ run, signal }) => {
      const isRetry = existsSync(file);
      appendFileSync(file, "attempt " + run.attempt + "\\n");
      if (isRetry) return;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      appendFileSync(file, "aborted: " + signal.reason.message + "\\n");
    };`;
    await writeHandlers(folder.path, { "user.created.ts": handler });
    await using server = await spawnServer(folder.path, { env: { SHUTDOWN_SECONDS: "1" } });
    await post(server.url, event, { id: "msg_1" });
    await until("the handler to start", () => existsSync(join(folder.path, "calls.log")));

    const signalled = performance.now();
    server.process.kill("SIGTERM");
    expect(await server.process.exited).toBe(0);
    expect(performance.now() - signalled).toBeGreaterThan(950);
    expect(performance.now() - signalled).toBeLessThan(4_000);

    await using next = await spawnServer(folder.path);
    expect(await next.ended("msg_1")).toMatchObject({ runs: [{ state: "done" }] });
    const calls = await readFile(join(folder.path, "calls.log"), "utf8");
    expect(calls).toBe("attempt 1\naborted: the server is shutting down\nattempt 1\n");
  },
);

test.concurrent("runs that wait for a slot at a shutdown do not start and lose no attempt", async () => {
  await using folder = await temporaryFolder();
  const files = {
    "user.created.ts": `export default ({ log, run }) => { log.info("" + run.attempt); return Bun.sleep(300); };`,
  };
  const ids = Array.from({ length: 20 }, (_, number) => `msg_${number}`);
  {
    await using server = await serverWith(files, { CONCURRENCY: "2" }, folder.path);
    await Promise.all(ids.map((id) => server.post({ ...event, data: { ...event.data, id: `user_${id}` } }, { id })));
  }
  {
    await using inbox = await openSqliteInbox(join(folder.path, "data"));
    const states = await Promise.all(ids.map(async (id) => (await inbox.get(id))?.runs[0]?.state));
    expect(states.filter((state) => state === "running")).toEqual([]);
    expect(states.filter((state) => state === "waiting").length).toBeGreaterThanOrEqual(16);
  }
  await using server = await serverWith(files, {}, folder.path);
  for (const id of ids)
    expect(await server.ended(id)).toMatchObject({
      runs: [{ state: "done", attempts: [{ log: [{ message: "1" }] }] }],
    });
});

test.concurrent("a second signal ends the server at once, and its run is retried after the restart", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `
    export default ({ run, log }) => {
      log.info("starting attempt " + run.attempt);
      return run.attempt === 1 ? Bun.sleep(60_000) : undefined;
    };`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  await until("the handler to start", () => server.output().includes("starting attempt 1"));
  server.process.kill("SIGINT");
  await until("the shutdown to be logged", () => server.output().includes("to stop at once"));
  // Signals within 500 ms count as one press of Ctrl-C.
  await Bun.sleep(600);
  const signalled = performance.now();
  server.process.kill("SIGINT");
  expect(await server.process.exited).not.toBe(0);
  expect(performance.now() - signalled).toBeLessThan(5_000);

  await using next = await spawnServer(folder.path);
  expect(await next.ended("msg_1")).toMatchObject({ runs: [{ state: "done" }] });
});

test.concurrent("a Ctrl-C that arrives twice, as under bun run, lets runs finish", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `export default ({ log }) => { log.info("starting"); return Bun.sleep(1_000); };`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  await until("the handler to start", () => server.output().includes("starting"));
  server.process.kill("SIGINT");
  await until("the shutdown to be logged", () => server.output().includes("to stop at once"));
  server.process.kill("SIGINT");
  expect(await server.process.exited).toBe(0);
  await using inbox = await openSqliteInbox(join(folder.path, "data"));
  expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
});

test.concurrent("a handler's own listener for a signal can't end the server, and is reported", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `
      import { appendFileSync } from "node:fs";
      for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => {
        appendFileSync(import.meta.dir + "/../signals.log", signal);
        process.exit(0);
      });
      export default ({ log }) => { log.info("starting"); return Bun.sleep(500); };`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  await until("the handler to start", () => server.output().includes("starting"));
  server.process.kill("SIGTERM");
  expect(await server.process.exited).toBe(0);
  expect(await readFile(join(folder.path, "signals.log"), "utf8")).toBe("SIGTERM");
  expect(server.output()).toContain("a handler called process.exit(0)");
  await using inbox = await openSqliteInbox(join(folder.path, "data"));
  expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
});

test.concurrent("stop is idempotent", async () => {
  await using server = await serverWith({});
  const first = server.stop();
  expect(server.stop()).toBe(first);
  await first;
  await server.stop();
});

test.concurrent("a server that shuts down answers 503 until it closes its port", async () => {
  await using server = await serverWith({});
  using request = await halfRequest(server.url, "msg_1");
  const stopped = server.stop();
  const health = await fetch(new URL("/health", server.url)).catch(() => undefined);
  expect(health?.status).toBe(503);
  expect(await health?.json()).toEqual({ status: "shutting_down" });
  const refused = await server.post(event, { id: "msg_2" });
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("30");
  request.finish();
  expect(await request.answer()).toMatchObject({ status: 200, body: expect.stringContaining("accepted") });
  await stopped;
  expect(await fetch(server.url).catch(() => "refused")).toBe("refused");
});

test.concurrent(
  "an unfinished request delays a shutdown by less than 5 seconds",
  async () => {
    await using server = await serverWith({});
    using _body = await halfRequest(server.url, "msg_1");
    using headers = await rawConnection(server.port);
    headers.write("POST /api/webhooks HTTP/1.1\r\nhost: bellhop\r\n");
    await fetch(new URL("/health", server.url), { keepalive: false });
    const signalled = performance.now();
    await server.stop();
    expect(performance.now() - signalled).toBeLessThan(5_000);
  },
  20_000,
);

test.concurrent(
  "SHUTDOWN_SECONDS holds while the deletion of old deliveries waits for a handler's transaction",
  async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": "export default async ({ db }) => { await db`select 1`; };",
      "session.created.ts": `import { on } from "bellhop";
export default on("session.created", { timeout: "10m" }, async ({ db, log }) => {
  log.info("starting");
  await db\`select 1\`;
  await new Promise(() => {});
});`,
    });
    const env = { SHUTDOWN_SECONDS: "1" };
    {
      await using first = await spawnServer(folder.path, { env });
      for (let number = 0; number < 60; number += 1) await post(first.url, event, { id: `old_${number}` });
      await first.ended("old_59");
      await post(first.url, { ...event, type: "session.created" }, { id: "open_transaction" });
      await until("the handler to start", () => first.output().includes("starting"));
      first.process.kill("SIGTERM");
      await first.process.exited;
    }
    using db = new Database(join(folder.path, "data/inbox.db"));
    db.run("update delivery set received_at = received_at - 100 * 86400000 where id like 'old%'");
    await using server = await spawnServer(folder.path, { env });
    await until("the handler to start again", () => server.output().includes("starting"));
    // Time for retention to begin and to wait for the transaction.
    await Bun.sleep(2_000);
    const began = performance.now();
    server.process.kill("SIGTERM");
    expect(await server.process.exited).toBe(0);
    expect(performance.now() - began).toBeLessThan(8_000);
  },
);

/** A signed request whose last bytes are sent by `finish`. */
async function halfRequest(url: string, id: string) {
  const body = JSON.stringify({ ...event, data: { id } });
  const bytes = rawRequest("POST", "/api/webhooks", signed(body, { id }), body);
  const connection = await rawConnection(Number(new URL(url).port));
  connection.write(bytes.subarray(0, -5));
  // A server that has answered a later request has read this one.
  await fetch(new URL("/health", url), { keepalive: false });
  return { ...connection, finish: () => connection.write(bytes.subarray(-5)) };
}
