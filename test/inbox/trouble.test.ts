// A server whose disk is full, locked or limited answers 503, loses nothing, and recovers by itself.

import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join, resolve } from "node:path";

import { environment, freePort, post, serverWith, spawnServer, writeHandlers } from "../harness.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { until } from "../until.ts";
import { fill, mounts, smallDisk } from "./small-disk.ts";

// Each test starts processes of its own, which is slow on a busy machine.
setDefaultTimeout(20_000);

const prlimit = Bun.which("prlimit") !== null && Bun.which("bash") !== null;
if (!prlimit) console.log("skipped: the test that limits the size of files needs bash and prlimit");

const slow = `export default () => Bun.sleep(300);`;

test.skipIf(!mounts)(
  "answers 503 on a full disk, loses nothing, and recovers by itself when there is space",
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

    // The handler has ended by now, but its outcome can't be recorded. The inbox's own probes must not succeed, either.
    for (let n = 0; n < 12; n += 1) {
      await Bun.sleep(100);
      expect([n, (await health(server.port)).status]).toEqual([n, 503]);
    }
    expect(await server.get("msg_1")).toMatchObject({ runs: [{ state: "running", attempts: [] }] });

    await Bun.file(filler).delete();
    await until("/health to be 200", async () => (await health(server.port)).ok);
    expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
    expect(await (await server.post(user(2), { id: "msg_2" })).json()).toEqual({ id: "msg_2", status: "accepted" });
    expect(await server.ended("msg_2")).toMatchObject({ receipts: 1, runs: [{ state: "done" }] });
  },
);

test.skipIf(!mounts)("loses nothing that was answered 200 when it is killed while its disk is full", async () => {
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

test.skipIf(!mounts)("refuses a body that does not fit on the disk, and stores those that do", async () => {
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
  await until("/health to be 200", async () => (await health(server.port)).ok);
});

test.skipIf(!prlimit)(
  "answers 503 while a limit stops its files from growing, and recovers when it is removed",
  async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, { "user.created.ts": `export default () => {};` });
    const port = await freePort();
    const main = resolve(import.meta.dir, "../../src/main.ts");
    // The limit is in blocks of 1,024 bytes. When XFSZ is ignored, the write fails instead.
    const child = Bun.spawn(["bash", "-c", `ulimit -S -f 400; trap '' XFSZ; exec ${process.execPath} ${main} start`], {
      cwd: folder.path,
      env: { PATH: process.env.PATH, ...environment(folder.path, { PORT: String(port), LOG_LEVEL: "silent" }) },
      stdio: ["ignore", "inherit", "inherit"],
    });
    try {
      const url = `http://127.0.0.1:${port}/api/webhooks`;
      await until("the server", async () => (await health(port)).ok);
      const accepted: string[] = [];
      // The first refusal checkpoints the log, which makes space again. The loop ends when both files are full.
      for (let [number, refused] = [0, 0]; refused < 10; number += 1) {
        const { status } = await post(url, user(number, refused === 0 ? 20_000 : 10), { id: `msg_${number}` });
        if (status === 200) accepted.push(`msg_${number}`);
        refused = status === 503 ? refused + 1 : 0;
      }
      expect(accepted.length).toBeGreaterThan(1);
      expect((await post(url, user(0, 20_000), { id: "msg_refused" })).status).toBe(503);
      expect((await health(port)).status).toBe(503);

      Bun.spawnSync(["prlimit", "--pid", String(child.pid), "--fsize=unlimited:"]);
      await until("/health to be 200", async () => (await health(port)).ok);
      for (const id of [...accepted, "msg_refused"]) {
        const answer = (await (await post(url, user(0), { id })).json()) as { status: string };
        expect([id, answer.status]).toEqual([id, id === "msg_refused" ? "accepted" : "duplicate"]);
      }
      await until("every run to end", () => openRuns(folder.path) === 0);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  },
);

test("answers 503 while another program locks the inbox, and recovers when it is unlocked", async () => {
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
  await until("/health to be 200", async () => (await health(server.port)).ok);
  expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "done", attempts: [{ attempt: 1 }] }] });
  expect((await server.post(user(2), { id: "msg_2" })).status).toBe(200);
});

function user(number: number, size = 10) {
  return {
    type: "user.created",
    object: "event",
    data: { id: `user_${number}`, object: "user", bio: "x".repeat(size) },
  };
}

function openRuns(folder: string): number {
  using db = new Database(join(folder, "data", "inbox.db"), { readonly: true });
  return (db.query(`select count(*) as open from run where state < 2`).get() as { open: number }).open;
}

async function health(port: number): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}/health`).catch(() => new Response(null, { status: 599 }));
}
