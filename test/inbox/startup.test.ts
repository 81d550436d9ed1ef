// A server that can't start on its DATA_DIR exits with an error message, and `bun start` waits for a server that is stopping.

import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, exists, mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { UserError } from "../../src/errors.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { lockDataDir } from "../../src/store/data-dir.ts";
import { FIRST_SQLITE_VERSION, SQLITE_SCHEMAS } from "../../src/store/schema.ts";
import { post, runCommand, serverWith, spawnServer, until } from "../harness.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { fill, isRoot, mounts, smallDisk } from "./small-disk.ts";

// Each test starts processes of its own, which is slow on a busy machine.
setDefaultTimeout(20_000);
if (isRoot) console.log("skipped: the test of a DATA_DIR without write permission, which root ignores");

/** 78: a service manager must not start it again and again, because only a person can help. */
type Refused = [content: string, prepare: (data: string) => Promise<unknown>, message: RegExp, exitCode?: 78];
const refusals: Refused[] = [
  [
    "a file",
    (data) => Bun.write(data, "x"),
    /data can't be opened: .*\n\n    It is a file, or is inside one: move that file away, or set DATA_DIR to a folder/,
  ],
  [
    "a directory with a garbage inbox.db",
    (data) => Bun.write(join(data, "inbox.db"), crypto.getRandomValues(new Uint8Array(50_000))),
    /inbox.db can't be opened: file is not a database.\n\n    It is damaged or not an SQLite file/,
  ],
  [
    "a directory with an inbox.db that is garbage after its first page",
    spoil,
    /inbox.db can't be opened: .*\n\n    It is damaged/,
  ],
  [
    "a directory with an inbox.db of a newer Bellhop",
    async (data) => {
      await mkdir(data);
      new Database(join(data, "inbox.db")).run("pragma user_version = 999");
    },
    /written by a newer Bellhop \(its schema is 999, this one knows \d+\)/,
    78,
  ],
  ...[1, 2, 3].map((version): Refused => [
    `a directory with an inbox.db of the first generation, version ${version}`,
    async (data) => {
      await mkdir(data);
      using db = new Database(join(data, "inbox.db"));
      db.run("create table meta(key text primary key, value integer not null) without rowid");
      db.run("create table delivery(seq integer primary key, id text not null unique, type text not null)");
      db.run(`pragma user_version = ${version}`);
    },
    /inbox\.db was written by the first generation of Bellhop.*\n\n    .*/,
    78,
  ]),
];

for (const [content, prepare, message, exitCode = 1] of refusals)
  test(`exits with 1 and an error message when DATA_DIR is ${content}`, async () => {
    await using folder = await temporaryFolder();
    await prepare(join(folder.path, "data"));
    await expectRefusal(folder.path, message, exitCode);
  });

test("adds the tables and columns of later versions to an inbox.db of the first one", async () => {
  await using folder = await temporaryFolder();
  {
    using db = new Database(join(folder.path, "inbox.db"));
    db.run(SQLITE_SCHEMAS[0]!);
    db.run(`pragma user_version = ${FIRST_SQLITE_VERSION}`);
    db.run("insert into delivery(id, type, at, sample, received_at) values ('msg_1', 'user.created', 1, 0, 1)");
    db.run("insert into run(seq, handler, order_key, at, state, due) values (1, 'user.created', 'user', 1, 3, 1)");
  }
  for (let starts = 0; starts < 2; starts += 1) {
    await using inbox = await openSqliteInbox(folder.path);
    expect((await inbox.get("msg_1"))?.runs).toMatchObject([{ state: "dead", problem: null }]);
    expect(await inbox.problems.list("open", 9)).toEqual([]);
    expect(await inbox.pauses.list()).toEqual([]);
  }
});

test.concurrent("exits with 1 and an error message when another program has locked inbox.db", async () => {
  await using folder = await temporaryFolder();
  await (await makeInbox(folder.path)).close();
  using other = new Database(join(folder.path, "data", "inbox.db"));
  other.run("begin exclusive");
  await expectRefusal(
    folder.path,
    /inbox.db can't be opened: database is locked.\n\n    Another program has locked it/,
  );
});

test.concurrent("starts although another program locks inbox.db for a moment", async () => {
  await using folder = await temporaryFolder();
  await (await makeInbox(folder.path)).close();
  using other = new Database(join(folder.path, "data", "inbox.db"));
  other.run("begin exclusive");
  setTimeout(() => other.run("rollback"), 500);
  await using server = await spawnServer(folder.path);
  expect((await post(server.url, user(1))).status).toBe(200);
});

test.skipIf(!mounts)("exits with 1 and an error message on a disk that is full or read-only", async () => {
  await using disk = await smallDisk("1m");
  await (await makeInbox(disk.path)).close();
  await fill(disk.path);
  await expectRefusal(disk.path, /can't be opened: .*\n\n    The disk is full: free some space/);
  await Bun.file(join(disk.path, "filler")).delete();
  Bun.spawnSync(["mount", "-o", "remount,ro", disk.path]);
  await expectRefusal(disk.path, /can't be opened: .*\n\n    Bellhop has to write there/);
});

test.skipIf(isRoot)("exits with 1 and an error message when DATA_DIR is not writable", async () => {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o500);
  await expectRefusal(folder.path, /can't be opened: .*\n\n    Bellhop has to write there/);
});

test.concurrent("refuses a second server on the same DATA_DIR with an error message", async () => {
  await using server = await serverWith({});
  const { exitCode, stderr } = await runCommand(server.folder, ["dev"]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^Another Bellhop server is using .*data; there can be one per folder\.\n\n    Stop that one/);
  expect(stderr).not.toMatch(/^\s+at /m);
  const began = performance.now();
  const refused = await lockDataDir(join(server.folder, "data"), { waitMs: 300 }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(UserError);
  expect(performance.now() - began).toBeGreaterThanOrEqual(300);
});

test("a server whose server.lock was removed creates it again, and a second server is refused meanwhile", async () => {
  await using server = await serverWith({});
  const lock = join(server.folder, "data", "server.lock");
  await rm(lock);
  const { exitCode, stderr } = await runCommand(server.folder, ["dev"]);
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/^Another Bellhop server is using/)]);
  await rm(lock, { force: true });
  await until("the lock", () => exists(lock));
  const reports = server.lines.filter(({ msg }) => String(msg).startsWith("server.lock"));
  expect(reports.length).toBeGreaterThan(0);
  expect((await runCommand(server.folder, ["dev"])).exitCode).toBe(1);
});

test("starts on a DATA_DIR whose server was killed and whose server.lock was removed", async () => {
  await using folder = await temporaryFolder();
  {
    await using server = await spawnServer(folder.path);
    await post(server.url, user(1), { id: "msg_1" });
  }
  await rm(join(folder.path, "data", "server.lock"));
  await using next = await spawnServer(folder.path);
  expect(await next.get("msg_1")).toMatchObject({ id: "msg_1" });
});

test.concurrent("a rolling deploy waits until the old server releases DATA_DIR", async () => {
  await using folder = await temporaryFolder();
  await using old = await spawnServer(folder.path);
  await post(old.url, user(1), { id: "msg_1" });
  setTimeout(() => old.process.kill("SIGTERM"), 2_000);
  const began = performance.now();
  await using next = await spawnServer(folder.path);
  expect(performance.now() - began).toBeGreaterThan(1_900);
  expect(next.output()).toContain("waiting for it to stop");
  expect(old.process.exitCode).toBe(0);
  expect(await next.get("msg_1")).toMatchObject({ id: "msg_1" });
});

test("does not change the mode of an existing DATA_DIR", async () => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  await mkdir(data);
  await chmod(data, 0o2775);
  await using server = await serverWith({}, {}, folder.path);
  expect((await server.post(user(1))).status).toBe(200);
  const mode = async (path: string) => ((await stat(path)).mode & 0o7777).toString(8);
  expect(await mode(data)).toBe("2775");
  // Other users may list the directory, but not read payloads.
  expect(await mode(join(data, "inbox.db"))).toBe("600");
});

test("only the server's user can read DATA_DIR and connect to its socket", async () => {
  await using server = await serverWith({});
  const mode = async (path: string) => ((await stat(join(server.folder, path))).mode & 0o777).toString(8);
  expect(await mode("data")).toBe("700");
  expect(await mode("data/bellhop.sock")).toBe("600");
});

function user(number: number) {
  return { type: "user.created", object: "event", data: { id: `user_${number}`, object: "user" } };
}

async function expectRefusal(folder: string, message: RegExp, code = 1) {
  const { exitCode, stderr, stdout } = await runCommand(folder, ["start"], { HANDLERS_DIR: import.meta.dir });
  expect(stdout + stderr).toMatch(message);
  expect(stdout + stderr).not.toMatch(/^\s+at /m);
  expect(exitCode).toBe(code);
}

async function makeInbox(folder: string): Promise<Inbox> {
  const unlock = await lockDataDir(join(folder, "data"));
  unlock();
  return openSqliteInbox(join(folder, "data"));
}

/** Creates an inbox in which only the first page is intact. */
async function spoil(data: string) {
  await (await makeInbox(join(data, ".."))).close();
  const file = Bun.file(join(data, "inbox.db"));
  const bytes = await file.bytes();
  crypto.getRandomValues(bytes.subarray(4_096));
  await Bun.write(file, bytes);
}

describe("an inbox that is missing although the ledger contains its runs", () => {
  const handlers = { "user.created.ts": "export default async ({ db }) => { await db`select 1`; };" };

  async function runOnce(folder: string) {
    await using server = await serverWith(handlers, {}, folder);
    await server.post(user(1), { id: "msg_1" });
    await server.ended("msg_1");
  }

  test("the server does not start when inbox.db is empty", async () => {
    await using folder = await temporaryFolder();
    await runOnce(folder.path);
    await Bun.write(join(folder.path, "data", "inbox.db"), "");
    await expectRefusal(
      folder.path,
      /inbox\.db is empty, but the handlers' database has runs .*\n\n    Restore a backup/,
      78,
    );
    // The next start is refused, too.
    await expectRefusal(folder.path, /inbox\.db is empty/, 78);
  });

  test("the server starts with a new inbox and a warning when inbox.db was removed", async () => {
    await using folder = await temporaryFolder();
    await runOnce(folder.path);
    await rm(join(folder.path, "data", "inbox.db"));
    await using server = await serverWith(handlers, {}, folder.path);
    const warnings = server.lines.filter(({ level }) => level === 40).map(({ msg }) => msg);
    expect(warnings).toEqual([
      expect.stringMatching(/inbox\.db was missing, and a new inbox was created; but .*bun restore/),
    ]);
  });

  test("the server starts without a warning when no run has used the database", async () => {
    await using server = await serverWith(handlers);
    expect(server.lines.filter(({ level }) => Number(level) >= 40)).toEqual([]);
  });
});
