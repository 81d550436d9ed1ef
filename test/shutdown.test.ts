import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { lockDataDir } from "../src/inbox/data-dir.ts";
import { openSqliteInbox } from "../src/inbox/open.ts";
import { post, serverWith, signed, spawnServer, temporaryFolder, until, writeHandlers } from "./harness.ts";

// Each starts processes of its own, which takes its time where others work as well.
setDefaultTimeout(20_000);

const event = { type: "user.created", object: "event", data: { id: "user_1", object: "user" } };

for (const signal of ["SIGTERM", "SIGINT"] as const)
  test.concurrent(
    `${signal} answers what is in flight, lets runs finish, leaves nothing behind and ends with 0`,
    async () => {
      await using folder = await temporaryFolder();
      await writeHandlers(folder.path, {
        "user.created.ts": `export default ({ log }) => { log.info("begins"); return Bun.sleep(500); };`,
      });
      await using server = await spawnServer(folder.path);
      await post(server.url, event, { id: "msg_1" });
      await until("the handler to begin", () => server.output().includes("begins"));
      using request = await halfRequest(server.url, "msg_2");

      server.process.kill(signal);
      await Bun.sleep(100);
      request.finish();
      await until("the answer", () => request.answer().includes("accepted"));
      expect(request.answer()).toStartWith("HTTP/1.1 200");
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
  "a run that is longer than SHUTDOWN_SECONDS is told, given back, and begins as attempt 1 after the restart",
  async () => {
    await using folder = await temporaryFolder();
    // Its file says how long it takes: for ever, the first time.
    const handler = `
    import { appendFileSync, existsSync } from "node:fs";
    const file = import.meta.dir + "/../calls.log";
    export default async ({ run, signal }) => {
      const again = existsSync(file);
      appendFileSync(file, "attempt " + run.attempt + "\\n");
      if (again) return;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      appendFileSync(file, "aborted: " + signal.reason.message + "\\n");
    };`;
    await writeHandlers(folder.path, { "user.created.ts": handler });
    await using server = await spawnServer(folder.path, { env: { SHUTDOWN_SECONDS: "1" } });
    await post(server.url, event, { id: "msg_1" });
    await until("the handler to begin", () => existsSync(join(folder.path, "calls.log")));

    const asked = performance.now();
    server.process.kill("SIGTERM");
    expect(await server.process.exited).toBe(0);
    expect(performance.now() - asked).toBeGreaterThan(950);
    expect(performance.now() - asked).toBeLessThan(4_000);

    await using next = await spawnServer(folder.path);
    expect(await next.ended("msg_1")).toMatchObject({ runs: [{ state: "done" }] });
    const calls = await readFile(join(folder.path, "calls.log"), "utf8");
    expect(calls).toBe("attempt 1\naborted: the server is shutting down\nattempt 1\n");
  },
);

test.concurrent("runs that wait for a free slot at a shutdown are not begun, and not spent", async () => {
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

test.concurrent("a second signal ends the server at once, and its run goes on after the restart", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `
    export default ({ run, log }) => {
      log.info("attempt " + run.attempt + " begins");
      return run.attempt === 1 ? Bun.sleep(60_000) : undefined;
    };`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  await until("the handler to begin", () => server.output().includes("attempt 1 begins"));
  server.process.kill("SIGINT");
  await until("the server to say that it stops", () => server.output().includes("to stop at once"));
  // Longer than one press of Ctrl-C can take to arrive twice.
  await Bun.sleep(600);
  const insisted = performance.now();
  server.process.kill("SIGINT");
  expect(await server.process.exited).not.toBe(0);
  expect(performance.now() - insisted).toBeLessThan(1_000);

  await using next = await spawnServer(folder.path);
  expect(await next.ended("msg_1")).toMatchObject({ runs: [{ state: "done" }] });
});

test.concurrent("one Ctrl-C that arrives twice, as it does under bun run, lets runs finish", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `export default ({ log }) => { log.info("begins"); return Bun.sleep(1_000); };`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  await until("the handler to begin", () => server.output().includes("begins"));
  server.process.kill("SIGINT");
  await until("the server to say that it stops", () => server.output().includes("to stop at once"));
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
        appendFileSync(import.meta.dir + "/../heard.log", signal);
        process.exit(0);
      });
      export default ({ log }) => { log.info("begins"); return Bun.sleep(500); };`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  await until("the handler to begin", () => server.output().includes("begins"));
  server.process.kill("SIGTERM");
  expect(await server.process.exited).toBe(0);
  expect(await readFile(join(folder.path, "heard.log"), "utf8")).toBe("SIGTERM");
  expect(server.output()).toContain("a handler called process.exit(0)");
  await using inbox = await openSqliteInbox(join(folder.path, "data"));
  expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
});

test.concurrent("stopping twice is stopping once", async () => {
  await using server = await serverWith({});
  const first = server.stop();
  expect(server.stop()).toBe(first);
  await first;
  await server.stop();
});

test.concurrent("a server that shuts down answers 503 as long as its port is open", async () => {
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
  await until("the answer", () => request.answer().includes("accepted"));
  await stopped;
  expect(await fetch(server.url).catch(() => "refused")).toBe("refused");
});

test.concurrent(
  "half a request does not hold up a shutdown for more than a few seconds",
  async () => {
    await using server = await serverWith({});
    using _body = await halfRequest(server.url, "msg_1");
    using _headers = await connect(server.url, "POST /api/webhooks HTTP/1.1\r\nhost: bellhop\r\n");
    const asked = performance.now();
    await server.stop();
    expect(performance.now() - asked).toBeLessThan(5_000);
  },
  20_000,
);

/** A signed request of which the last bytes are missing until `finish`. */
async function halfRequest(url: string, id: string) {
  const body = JSON.stringify({ ...event, data: { id } });
  const headers = { host: "bellhop", ...signed(body, { id }), "content-length": String(body.length) };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const connection = await connect(url, `POST /api/webhooks HTTP/1.1\r\n${lines.join("")}\r\n${body.slice(0, 10)}`);
  return { ...connection, finish: () => connection.write(body.slice(10)) };
}

async function connect(url: string, first: string) {
  const { hostname, port } = new URL(url);
  let answer = "";
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: { data: (_, bytes) => void (answer += bytes.toString()) },
  });
  socket.write(first);
  // So that the server has read it.
  await Bun.sleep(50);
  return {
    write: (text: string) => socket.write(text),
    answer: () => answer,
    [Symbol.dispose]: () => void socket.end(),
  };
}

test.concurrent(
  "SHUTDOWN_SECONDS holds, also while old deliveries wait for a handler's transaction to be let go of",
  async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": "export default async ({ db }) => { await db`select 1`; };",
      "session.created.ts": `import { on } from "bellhop";
export default on("session.created", { timeout: "10m" }, async ({ db, log }) => {
  log.info("begins");
  await db\`select 1\`;
  await new Promise(() => {});
});`,
    });
    const env = { SHUTDOWN_SECONDS: "1" };
    {
      await using first = await spawnServer(folder.path, { env });
      for (let number = 0; number < 60; number += 1) await post(first.url, event, { id: `old_${number}` });
      await first.ended("old_59");
      await post(first.url, { ...event, type: "session.created" }, { id: "holds" });
      await until("the handler to begin", () => first.output().includes("begins"));
      first.process.kill("SIGTERM");
      await first.process.exited;
    }
    using db = new Database(join(folder.path, "data/inbox.db"));
    db.run("update delivery set received_at = received_at - 100 * 86400000 where id like 'old%'");
    await using server = await spawnServer(folder.path, { env });
    await until("it to begin again", () => server.output().includes("begins"));
    // By then retention waits for it.
    await Bun.sleep(2_000);
    const began = performance.now();
    server.process.kill("SIGTERM");
    expect(await server.process.exited).toBe(0);
    expect(performance.now() - began).toBeLessThan(8_000);
  },
);
