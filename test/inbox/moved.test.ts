// DATA_DIR and the files in it are removed, renamed and replaced while a server runs. Deliveries that were answered 200 are
// found after a restart, and those that can't be stored are answered 503.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { cp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { post, serverWith, spawnServer, temporaryFolder, type TestServer, until, writeHandlers } from "../harness.ts";

setDefaultTimeout(20_000);

const handlers = { "user.created.ts": `export default () => {};` };
const user = (id: string) => ({ type: "user.created", object: "event", data: { id, object: "user" } });

type Change = (data: string) => Promise<unknown>;

const changes: [name: string, change: Change, undo: Change, message: string][] = [
  [
    "DATA_DIR was renamed",
    (data) => rename(data, `${data}.away`),
    (data) => rename(`${data}.away`, data),
    "was removed or renamed",
  ],
  [
    "inbox.db was renamed",
    (data) => rename(join(data, "inbox.db"), join(data, "other.db")),
    (data) => rename(join(data, "other.db"), join(data, "inbox.db")),
    "was removed or renamed",
  ],
  [
    "DATA_DIR was replaced by its copy",
    async (data) => {
      await rename(data, `${data}.away`);
      await cp(`${data}.away`, data, { recursive: true, filter: (path) => !path.endsWith(".sock") });
    },
    async (data) => {
      await rm(data, { recursive: true });
      await rename(`${data}.away`, data);
    },
    "was replaced by another file",
  ],
];

for (const [name, change, undo, message] of changes)
  test(`answers 503 when ${name}, logs it once, and recovers when it is undone`, async () => {
    await using folder = await temporaryFolder();
    await using server = await serverWith(handlers, {}, folder.path);
    expect((await server.post(user("a"), { id: "msg_a" })).status).toBe(200);
    await server.ended("msg_a");
    await change(server.dataDir);
    // The server notices within a second, without a delivery.
    await until("/health to be 503", async () => (await health(server)).status === 503, 5_000);
    const statuses = await Promise.all(["b", "c"].map(async (id) => (await server.post(user(id), { id })).status));
    expect(statuses).toEqual([503, 503]);
    await Bun.sleep(1_200);
    expect((await health(server)).status).toBe(503);
    await undo(server.dataDir);
    await until("/health to be 200", async () => (await health(server)).ok);
    expect((await server.post(user("b"), { id: "msg_b" })).status).toBe(200);
    await server.ended("msg_b");
    const reports = server.lines.filter(({ msg }) => String(msg).startsWith("the inbox can"));
    expect(reports.map(({ msg }) => msg)).toEqual([
      expect.stringContaining(`inbox.db ${message} while it was open`),
      `the inbox can be written again: ${join(server.dataDir, "inbox.db")}`,
    ]);
  });

test("deliveries that were answered 200 are found after a crash, also when files beside inbox.db were removed", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, handlers);
  const accepted: string[] = [];
  {
    await using server = await spawnServer(folder.path);
    for (const removed of ["", "inbox.db-wal", "inbox.db-shm"]) {
      if (removed) await rm(join(folder.path, "data", removed));
      for (let number = 0; number < 20; number += 1) {
        const id = `msg_${removed}_${number}`.replace(".", "_");
        const { status } = await post(server.url, user(id), { id });
        if (status === 200) accepted.push(id);
      }
    }
    expect((await fetch(new URL("/health", server.url))).status).toBe(200);
    server.process.kill("SIGKILL");
    await server.process.exited;
  }
  expect(accepted).toHaveLength(60);
  await using next = await serverWith(handlers, {}, folder.path);
  const found = await Promise.all(accepted.map(async (id) => (await next.get(id))?.id));
  expect(found).toEqual(accepted);
});

test("a removed write-ahead log is created again while no delivery arrives, and nothing is lost", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, handlers);
  {
    await using server = await spawnServer(folder.path);
    for (const id of ["msg_1", "msg_2"]) {
      expect((await post(server.url, user(id), { id })).status).toBe(200);
      await server.ended(id);
    }
    const log = join(folder.path, "data", "inbox.db-wal");
    await rm(log);
    await until("a new log", () => existsSync(log));
    await until("/health to be 200", async () => (await fetch(new URL("/health", server.url))).ok);
    server.process.kill("SIGKILL");
    await server.process.exited;
  }
  await using next = await serverWith(handlers, {}, folder.path);
  for (const id of ["msg_1", "msg_2"]) expect(await next.get(id)).toMatchObject({ id });
});

test("no delivery is answered 200 after DATA_DIR was removed", async () => {
  await using folder = await temporaryFolder();
  await using server = await serverWith(handlers, {}, folder.path);
  await rm(server.dataDir, { recursive: true });
  const statuses = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => (await server.post(user(`u${n}`), { id: `msg_${n}` })).status),
  );
  expect(new Set(statuses)).toEqual(new Set([503]));
});

test("under load, each delivery is answered 200 or 503 while DATA_DIR is away for a moment", async () => {
  await using folder = await temporaryFolder();
  await using server = await serverWith(handlers, {}, folder.path);
  const statuses = new Set<number>();
  let isOver = false;
  const load = Array.from({ length: 8 }, async (_, client) => {
    for (let n = 0; !isOver; n += 1)
      statuses.add((await server.post(user(`u${client}`), { id: `msg_${client}_${n}` })).status);
  });
  for (let round = 0; round < 5; round += 1) {
    await Bun.sleep(50);
    await rename(server.dataDir, `${server.dataDir}.away`);
    await Bun.sleep(100);
    await rename(`${server.dataDir}.away`, server.dataDir);
  }
  isOver = true;
  await Promise.all(load);
  expect([...statuses].toSorted((a, b) => a - b)).toEqual([200, 503]);
  await until("/health to be well", async () => (await health(server)).status === 200);
}, 30_000);

test("a server that stops does not change files that have replaced its own", async () => {
  await using folder = await temporaryFolder();
  let files: string[] = [];
  const data = join(folder.path, "data");
  {
    await using server = await serverWith(handlers, {}, folder.path);
    await server.post(user("a"), { id: "msg_a" });
    await server.ended("msg_a");
    await rename(data, `${data}.away`);
    await cp(`${data}.away`, data, { recursive: true, filter: (path) => !path.endsWith(".sock") });
    files = await databaseFiles(data);
    expect(files).toContain("inbox.db-wal");
  }
  expect(await databaseFiles(data)).toEqual(files);
  await using next = await serverWith(handlers, {}, folder.path);
  expect(await next.get("msg_a")).toMatchObject({ runs: [{ state: "done" }] });
});

async function databaseFiles(data: string): Promise<string[]> {
  return (await readdir(data)).filter((file) => /^(?:inbox|app)/.test(file)).toSorted();
}

async function health({ port }: TestServer): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}/health`);
}

test("while app.db is moved, deliveries are stored, handlers wait without losing an attempt, and /health reports it", async () => {
  await using folder = await temporaryFolder();
  const writes = `export default async ({ db, delivery }) => { await db\`insert into t values (\${delivery.id})\`; };`;
  const files = { "_schema.sql": "create table if not exists t (a text);", "user.created.ts": writes };
  await using server = await serverWith(files, {}, folder.path);
  await server.post(user("a"), { id: "msg_a" });
  await server.ended("msg_a");
  const app = join(server.dataDir, "app.db");
  await rename(app, `${app}.away`);
  await until(
    "/health to report it",
    async () => "database" in ((await (await health(server)).json()) as object),
    5_000,
  );
  const response = await health(server);
  expect([response.status, await response.json()]).toEqual([
    200,
    { status: "ok", database: "handlers can't write to it: its file was moved, removed or replaced" },
  ]);
  expect((await server.post(user("b"), { id: "msg_b" })).status).toBe(200);
  await until("the attempt to be postponed", async () =>
    (await server.get("msg_b"))?.runs[0]?.attempts.some(({ outcome }) => outcome === "postponed"),
  );
  await rename(`${app}.away`, app);
  expect((await server.ended("msg_b", 10_000)).runs[0]).toMatchObject({ state: "done" });
  const reports = server.lines.map(({ msg }) => String(msg)).filter((line) => line.startsWith("the database can"));
  expect(reports).toEqual([
    expect.stringContaining(`can't be reached: ${app} was removed or renamed`),
    `the database can be reached again: ${app}`,
  ]);
});
