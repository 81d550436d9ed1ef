import { type Changes, Database } from "bun:sqlite";
import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { chmod, mkdir, stat, statfs } from "node:fs/promises";
import { join, resolve } from "node:path";

import { InboxUnavailable, UserError } from "../../src/errors.ts";
import type { Inbox, NewDelivery } from "../../src/inbox/inbox.ts";
import { lockDataDir, openSqliteInbox } from "../../src/inbox/sqlite.ts";
import {
  environment,
  freePort,
  post,
  runCommand,
  serverWith,
  spawnServer,
  temporaryFolder,
  until,
  writeHandlers,
} from "../harness.ts";
import { EVERY_RUN } from "./every-run.ts";

// Each starts processes of its own, which takes its time where others work as well.
setDefaultTimeout(20_000);

const isRoot = process.getuid?.() === 0;
const mounts = isRoot && process.platform === "linux" && canMount();
if (!mounts) console.log("skipped: tests that mount a small tmpfs need root on Linux");
const prlimit = Bun.which("prlimit") !== null && Bun.which("bash") !== null;
if (!prlimit) console.log("skipped: the test that limits the size of files needs bash and prlimit");

const slow = `export default () => Bun.sleep(300);`;

test.skipIf(!mounts)(
  "a full disk is answered 503, loses nothing, and the server goes on by itself when there is room",
  async () => {
    await using disk = await smallDisk("4m");
    await using server = await serverWith({ "user.created.ts": slow }, {}, disk.path);
    expect((await server.post(user(1), { id: "msg_1" })).status).toBe(200);
    await until("the run to begin", async () => (await server.get("msg_1"))?.runs[0]?.state === "running");
    const filler = await fill(disk.path);

    const refused = await server.post(user(2), { id: "msg_2" });
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("30");
    expect(await refused.json()).toEqual({ error: "unavailable" });
    expect(await server.get("msg_2")).toBeUndefined();
    expect((await health(server.port)).status).toBe(503);

    // Its handler has ended by now, and nobody can write that down.
    await Bun.sleep(500);
    expect(await server.get("msg_1")).toMatchObject({ runs: [{ state: "running", attempts: [] }] });

    await Bun.file(filler).delete();
    await until("/health to be green", async () => (await health(server.port)).ok, 3_000);
    expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
    expect(await (await server.post(user(2), { id: "msg_2" })).json()).toEqual({ id: "msg_2", status: "accepted" });
    expect(await server.ended("msg_2")).toMatchObject({ receipts: 1, runs: [{ state: "done" }] });
  },
);

test.skipIf(!mounts)("a server that dies while its disk is full loses nothing that it answered 200", async () => {
  await using disk = await smallDisk("6m");
  await writeHandlers(disk.path, { "user.created.ts": `export default () => Bun.sleep(20);` });
  await using server = await spawnServer(disk.path);
  const filling = Bun.sleep(100).then(() => fill(disk.path));
  const answers = new Map<string, number>();
  for (let number = 0; number < 2_000 && ![...answers.values()].includes(503); number += 1) {
    const id = `msg_${number}`;
    answers.set(id, (await post(server.url, user(number), { id })).status);
  }
  expect([...new Set(answers.values())]).toEqual([200, 503]);
  server.process.kill("SIGKILL");
  await server.process.exited;

  await Bun.file(await filling).delete();
  await using next = await spawnServer(disk.path);
  for (const [id, status] of answers)
    if (status === 200) expect(await next.ended(id)).toMatchObject({ runs: [{ state: "done" }] });
    else expect(await next.get(id)).toBeUndefined();
});

test.skipIf(!mounts)("a body that does not fit on the disk is refused, and those beside it are stored", async () => {
  await using disk = await smallDisk("4m");
  await using server = await serverWith({}, {}, disk.path);
  await fill(disk.path, 500_000);
  const answers = await Promise.all(
    [10, 900_000, 20].map((size, index) => server.post(user(index, size), { id: `msg_${index}` })),
  );
  expect(answers.map(({ status }) => status)).toEqual([200, 503, 200]);
  expect(await server.get("msg_0")).toBeDefined();
  expect(await server.get("msg_1")).toBeUndefined();
  expect(await server.get("msg_2")).toBeDefined();
  await until("/health to be green", async () => (await health(server.port)).ok, 3_000);
});

test.skipIf(!prlimit)("a file that may not grow is answered 503, and the server goes on when it may", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": `export default () => {};` });
  const port = await freePort();
  const main = resolve(import.meta.dir, "../../src/main.ts");
  // Blocks of 1,024 bytes. Ignored, the signal becomes an error of the write.
  const child = Bun.spawn(["bash", "-c", `ulimit -S -f 400; trap '' XFSZ; exec ${process.execPath} ${main} start`], {
    cwd: folder.path,
    env: { PATH: process.env.PATH, ...environment(folder.path, { PORT: String(port), LOG_LEVEL: "silent" }) },
    stdio: ["ignore", "inherit", "inherit"],
  });
  try {
    const url = `http://127.0.0.1:${port}/api/webhooks`;
    await until("the server", async () => (await health(port)).ok);
    const accepted: string[] = [];
    // The first refusal moves the log into the file, and there is room again: it ends when both are full.
    for (let [number, refused] = [0, 0]; refused < 10; number += 1) {
      const { status } = await post(url, user(number, 20_000), { id: `msg_${number}` });
      if (status === 200) accepted.push(`msg_${number}`);
      refused = status === 503 ? refused + 1 : 0;
    }
    expect(accepted.length).toBeGreaterThan(1);
    expect((await post(url, user(0, 20_000), { id: "msg_refused" })).status).toBe(503);
    expect((await health(port)).status).toBe(503);

    Bun.spawnSync(["prlimit", "--pid", String(child.pid), "--fsize=unlimited:"]);
    await until("/health to be green", async () => (await health(port)).ok, 3_000);
    for (const id of [...accepted, "msg_refused"]) {
      const answer = (await (await post(url, user(0), { id })).json()) as { status: string };
      expect([id, answer.status]).toEqual([id, id === "msg_refused" ? "accepted" : "duplicate"]);
    }
    await until("every run to end", () => openRuns(folder.path) === 0);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("one delivery that does not fit is refused, and the others of its batch are stored", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path, { maxPages: 100 });
  const sizes = [10, 10, 900_000, 10, 10];
  const stored = await Promise.allSettled(
    sizes.map((size, index) => inbox.accept({ ...delivery(index), body: new Uint8Array(size) }, [])),
  );
  expect(stored.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled", "fulfilled"]);
  expect(stored[2]).toMatchObject({ reason: expect.any(InboxUnavailable) });
  expect(await inbox.get("msg_2")).toBeNull();
  expect(await inbox.get("msg_3")).toMatchObject({ id: "msg_3" });
  expect(inbox.writable).toBe(true);
});

test("an inbox that is locked while the server runs is a 503, and the server goes on when it is let go", async () => {
  await using server = await serverWith({ "user.created.ts": slow });
  await server.post(user(1), { id: "msg_1" });
  await until("the run to begin", async () => (await server.get("msg_1"))?.runs[0]?.state === "running");
  using other = new Database(join(server.folder, "data", "inbox.db"));
  other.run("begin exclusive");
  expect((await server.post(user(2), { id: "msg_2" })).status).toBe(503);
  expect((await health(server.port)).status).toBe(503);
  expect(await server.get("msg_1")).toMatchObject({ runs: [{ state: "running" }] });
  await Bun.sleep(400);
  other.run("rollback");
  await until("/health to be green", async () => (await health(server.port)).ok, 3_000);
  expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
  expect((await server.post(user(2), { id: "msg_2" })).status).toBe(200);
});

test("runs of a claim that failed but was durable are given back, and begin again", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await inbox.accept(delivery(1), [{ handler: "user.created", lane: "user", parked: false }]);
  expect(await loseCommits(1, () => failure(claim(inbox)))).toBeInstanceOf(InboxUnavailable);
  expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ state: "running" }] });
  expect(await inbox.reconcile("me", new Set())).toBe(1);
  const [ticket] = await claim(inbox);
  expect(ticket).toMatchObject({ attempt: 2, spent: 0, interrupted: 0 });
});

test("a claim whose batch failed but was durable begins its runs when the batch is tried again in parts", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await inbox.accept(delivery(1), [{ handler: "user.created", lane: "user", parked: false }]);
  const [tickets, sweep] = await loseCommits(1, () => Promise.allSettled([claim(inbox), inbox.sweep()]));
  expect(sweep).toMatchObject({ status: "fulfilled" });
  expect(tickets).toMatchObject({ value: [{ attempt: 2, spent: 0 }] });
});

test("an acceptance that failed but was durable is a duplicate the next time, with one run", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  const runs = [{ handler: "user.created", lane: "user", parked: false }];
  expect(await loseCommits(1, () => failure(inbox.accept(delivery(1), runs)))).toBeInstanceOf(InboxUnavailable);
  expect(await inbox.accept(delivery(1), runs)).toMatchObject({ status: "duplicate", runs: [{ state: "waiting" }] });
  expect(await claim(inbox)).toHaveLength(1);
});

test("a closed inbox writes no more: its file may be another server's by then", async () => {
  await using folder = await temporaryFolder();
  const inbox = await openSqliteInbox(folder.path);
  await inbox.close();
  expect(await failure(inbox.accept(delivery(1), []))).toBeInstanceOf(InboxUnavailable);
  await using next = await openSqliteInbox(folder.path);
  expect(await next.get("msg_1")).toBeNull();
});

const starts: [string, (data: string) => Promise<unknown>, RegExp][] = [
  ["a file in its place", (data) => Bun.write(data, "x"), /data can't be opened: .*\n\n    Bellhop has to write there/],
  [
    "garbage for an inbox.db",
    (data) => Bun.write(join(data, "inbox.db"), crypto.getRandomValues(new Uint8Array(50_000))),
    /inbox.db can't be opened: file is not a database.\n\n    It is damaged or no SQLite file/,
  ],
  ["an inbox.db that is garbage after its first page", spoil, /inbox.db can't be opened: .*\n\n    It is damaged/],
  [
    "an inbox.db of a newer Bellhop",
    async (data) => {
      await mkdir(data);
      new Database(join(data, "inbox.db")).run("pragma user_version = 999");
    },
    /written by a newer Bellhop \(its schema is 999, this one knows \d+\)/,
  ],
];

for (const [what, prepare, says] of starts)
  test(`a server whose DATA_DIR has ${what} says so in a sentence and ends with 1`, async () => {
    await using folder = await temporaryFolder();
    await prepare(join(folder.path, "data"));
    await refuses(folder.path, says);
  });

test.concurrent(
  "a server whose inbox.db is locked by another program says so in a sentence and ends with 1",
  async () => {
    await using folder = await temporaryFolder();
    await (await makeInbox(folder.path)).close();
    using other = new Database(join(folder.path, "data", "inbox.db"));
    other.run("begin exclusive");
    await refuses(folder.path, /inbox.db can't be opened: database is locked.\n\n    Another program holds it/);
  },
);

test.concurrent("a program that reads inbox.db for a moment does not keep the server from starting", async () => {
  await using folder = await temporaryFolder();
  await (await makeInbox(folder.path)).close();
  using other = new Database(join(folder.path, "data", "inbox.db"));
  other.run("begin exclusive");
  setTimeout(() => other.run("rollback"), 500);
  await using server = await spawnServer(folder.path);
  expect((await post(server.url, user(1))).status).toBe(200);
});

test.skipIf(!mounts)("a server on a disk that is full or may not be written says which, and ends with 1", async () => {
  await using disk = await smallDisk("1m");
  await (await makeInbox(disk.path)).close();
  await fill(disk.path);
  await refuses(disk.path, /can't be opened: .*\n\n    The disk is full: make room/);
  await Bun.file(join(disk.path, "filler")).delete();
  Bun.spawnSync(["mount", "-o", "remount,ro", disk.path]);
  await refuses(disk.path, /can't be opened: .*\n\n    Bellhop has to write there/);
});

test.skipIf(isRoot)("a server that may not write its DATA_DIR says so, and ends with 1", async () => {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o500);
  await refuses(folder.path, /can't be opened: .*\n\n    Bellhop has to write there/);
});

test.concurrent("a second server on the same DATA_DIR is refused with a sentence", async () => {
  await using server = await serverWith({});
  const { exitCode, stderr } = await runCommand(server.folder, ["dev"]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^Another Bellhop server is using .*data; there can be one per folder\.\n\n    Stop that one/);
  expect(stderr).not.toMatch(/^\s+at /m);
  const waited = performance.now();
  expect(await failure(lockDataDir(join(server.folder, "data"), 300))).toBeInstanceOf(UserError);
  expect(performance.now() - waited).toBeGreaterThanOrEqual(300);
});

test.concurrent("a rolling deploy waits for the old server to let go of the folder", async () => {
  await using folder = await temporaryFolder();
  await using old = await spawnServer(folder.path);
  await post(old.url, user(1), { id: "msg_1" });
  setTimeout(() => old.process.kill("SIGTERM"), 1_000);
  const began = performance.now();
  await using next = await spawnServer(folder.path);
  expect(performance.now() - began).toBeGreaterThan(900);
  expect(next.output()).toContain("waiting for it to stop");
  expect(old.process.exitCode).toBe(0);
  expect(await next.get("msg_1")).toMatchObject({ id: "msg_1" });
});

test("only the server's user can look into its data folder and speak to its socket", async () => {
  await using server = await serverWith({});
  const mode = async (path: string) => ((await stat(join(server.folder, path))).mode & 0o777).toString(8);
  expect(await mode("data")).toBe("700");
  expect(await mode("data/bellhop.sock")).toBe("600");
});

function user(number: number, size = 10) {
  return {
    type: "user.created",
    object: "event",
    data: { id: `user_${number}`, object: "user", bio: "x".repeat(size) },
  };
}

function delivery(number: number): NewDelivery {
  return {
    id: `msg_${number}`,
    type: "user.created",
    subject: `user_${number}`,
    at: number,
    sample: false,
    sensitive: false,
    receivedAt: number,
    headers: {},
    body: new Uint8Array(10),
  };
}

/** What a promise is rejected with; undefined when it is not. */
async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function claim(inbox: Inbox) {
  return (await inbox.claim("me", new Map([["user.created", 16]]))).tickets;
}

/** For as long as `action` takes, the first `count` commits go through and are said to have failed. */
async function loseCommits<T>(count: number, action: () => Promise<T>): Promise<T> {
  const run = Reflect.get(Database.prototype, "run") as (...args: unknown[]) => Changes;
  let left = count;
  using _ = spyOn(Database.prototype, "run").mockImplementation(function (this: Database, ...args: unknown[]) {
    const result = run.apply(this, args);
    if (args[0] === "commit" && left-- > 0) throw new Error("disk I/O error");
    return result;
  });
  return await action();
}

async function refuses(folder: string, says: RegExp) {
  const { exitCode, stderr, stdout } = await runCommand(folder, ["start"]);
  expect(stdout + stderr).toMatch(says);
  expect(stdout + stderr).not.toMatch(/^\s+at /m);
  expect(exitCode).toBe(1);
}

async function makeInbox(folder: string): Promise<Inbox> {
  await mkdir(join(folder, "data"), { recursive: true });
  return openSqliteInbox(join(folder, "data"));
}

/** An inbox that has been in use, with only its header intact. */
async function spoil(data: string) {
  await (await makeInbox(join(data, ".."))).close();
  const file = Bun.file(join(data, "inbox.db"));
  const bytes = await file.bytes();
  crypto.getRandomValues(bytes.subarray(4_096));
  await Bun.write(file, bytes);
}

function openRuns(folder: string): number {
  using db = new Database(join(folder, "data", "inbox.db"), { readonly: true });
  return (db.query(`select count(*) as open from ${EVERY_RUN} where state < 2`).get() as { open: number }).open;
}

async function health(port: number): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}/health`).catch(() => new Response(null, { status: 599 }));
}

function canMount(): boolean {
  const folder = Bun.spawnSync(["mktemp", "-d"]).stdout.toString().trim();
  const { success } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
  if (success) Bun.spawnSync(["umount", folder]);
  Bun.spawnSync(["rmdir", folder]);
  return success;
}

/** A folder that is a disk of its own. */
async function smallDisk(size: string): Promise<{ path: string } & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const { success, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  if (!success) throw new Error(stderr.toString());
  opened.defer(() => void Bun.spawnSync(["umount", "-l", path]));
  const held = opened.move();
  return { path, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** Writes a file that leaves `room` bytes, and returns its path. */
async function fill(disk: string, room = 0): Promise<string> {
  const { bavail, bsize } = await statfs(disk);
  const path = join(disk, "filler");
  try {
    writeFileSync(path, new Uint8Array(bavail * bsize - room));
  } catch {
    // Somebody else took some of it meanwhile: full is full.
  }
  return path;
}
