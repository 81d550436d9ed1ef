// `bun backup` and `bun restore`, and the recovery when the inbox and the handlers' database do not match.

import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import {
  post,
  runCommand,
  serverWith,
  spawnServer,
  temporaryFolder,
  type TestServer,
  until,
  writeHandlers,
} from "../harness.ts";

setDefaultTimeout(30_000);

const files = {
  "_schema.sql": "create table if not exists t (id text);",
  "user.created.ts": "export default async ({ db, delivery }) => { await db`insert into t values (${delivery.id})`; };",
  "session.created.ts": "export default () => {};",
};
const user = (id: string) => ({ type: "user.created", object: "event", data: { id, object: "user" } });

function effectsIn(folder: string): string[] {
  using db = new Database(join(folder, "app.db"));
  return (db.query("select id from t order by id").all() as { id: string }[]).map(({ id }) => id);
}

async function send(server: TestServer, from: number, to: number) {
  const ids = Array.from({ length: to - from }, (_, n) => `msg_${String(from + n).padStart(4, "0")}`);
  for (const id of ids) expect((await server.post(user(`user_${id}`), { id })).status).toBe(200);
  for (const id of ids) await server.ended(id);
  return ids;
}

test("a backup made under load restores the effects of every run that it records as done", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, files);
  let sent = 0;
  {
    await using server = await spawnServer(folder.path);
    let isStopped = false;
    const load = Array.from({ length: 8 }, async () => {
      while (!isStopped) {
        const id = `msg_${(sent += 1)}`;
        await post(server.url, user(id), { id });
      }
    });
    await until("some deliveries", () => sent > 100);
    const backup = await runCommand(folder.path, ["backup", "copy"]);
    expect([backup.exitCode, backup.stderr]).toEqual([0, ""]);
    await Bun.sleep(200);
    isStopped = true;
    await Promise.all(load);
  }
  expect((await readdir(join(folder.path, "copy"))).toSorted()).toEqual(["app.db", "inbox.db"]);
  expect((await stat(join(folder.path, "copy"))).mode & 0o777).toBe(0o700);
  const restored = await runCommand(folder.path, ["restore", "copy"]);
  expect([restored.exitCode, restored.stderr]).toEqual([0, ""]);
  expect(restored.stdout).toContain("The old files are in ");

  await using server = await serverWith(files, {}, folder.path);
  const stored = () => {
    using db = new Database(join(server.dataDir, "inbox.db"), { readonly: true });
    return db.query("select d.id, r.state from run r join delivery d on d.seq = r.seq").all() as {
      id: string;
      state: number;
    }[];
  };
  await until("every run to end", () => stored().every(({ state }) => state > 1));
  expect(stored().length).toBeGreaterThan(100);
  // The handlers' database is copied second, so it may contain effects of deliveries that arrived after the inbox's copy.
  const effects = effectsIn(server.dataDir);
  expect(effects).toEqual([...new Set(effects)]);
  expect(effects).toEqual(expect.arrayContaining(stored().map(({ id }) => id)));
  expect(server.lines.filter(({ msg }) => String(msg).includes("--lost"))).toEqual([]);
});

test("a start with an older handlers' database logs the lost runs, and replay --lost runs them again", async () => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  {
    await using server = await serverWith(files, {}, folder.path);
    await send(server, 0, 5);
  }
  await copyFile(join(data, "app.db"), join(folder.path, "older.db"));
  let lost: string[];
  {
    await using server = await serverWith(files, {}, folder.path);
    lost = await send(server, 5, 12);
    await server.post({ type: "session.created", object: "event", data: { id: "sess_1" } }, { id: "msg_other" });
    await server.ended("msg_other");
  }
  await rm(join(data, "app.db-wal"), { force: true });
  await rm(join(data, "app.db-shm"), { force: true });
  await copyFile(join(folder.path, "older.db"), join(data, "app.db"));

  await using server = await serverWith(files, {}, folder.path);
  const warnings = () => server.lines.filter(({ msg }) => String(msg).includes("replay --lost")).map(({ msg }) => msg);
  await until("the warning", () => warnings().length > 0);
  expect(warnings()).toEqual([expect.stringMatching(/^7 runs are done, and what they wrote is not in .*app\.db: /)]);
  expect(effectsIn(data)).toHaveLength(5);

  const listed = await runCommand(folder.path, ["replay", "--lost", "--dry-run"]);
  expect(listed.stdout).toStartWith(
    "7 runs are done and missing in the handlers' database:\n  msg_0005  user.created\n",
  );
  const unconfirmed = await runCommand(folder.path, ["replay", "--lost"]);
  expect([unconfirmed.exitCode, unconfirmed.stderr]).toEqual([1, expect.stringContaining("--yes")]);
  const replayed = await runCommand(folder.path, ["replay", "--lost", "--yes"]);
  expect([replayed.exitCode, replayed.stderr]).toEqual([0, ""]);
  expect(replayed.stdout).toContain("7 replayed");
  await until("the effects", () => effectsIn(data).length === 12);
  for (const id of lost) await server.ended(id);
  expect((await runCommand(folder.path, ["replay", "--lost"])).stdout).toContain("No run is lost");
});

test("restore changes nothing while a server runs or when the backup is damaged", async () => {
  await using folder = await temporaryFolder();
  const restore = async () => runCommand(folder.path, ["restore", "copy"]);
  {
    await using server = await serverWith(files, {}, folder.path);
    await send(server, 0, 2);
    expect((await runCommand(folder.path, ["backup", "copy"])).exitCode).toBe(0);
    const again = await runCommand(folder.path, ["backup", "copy"]);
    expect([again.exitCode, again.stderr]).toEqual([1, expect.stringContaining("copy exists already")]);
    const refused = await restore();
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("Another Bellhop server")]);
  }
  const before = (await readdir(join(folder.path, "data"))).toSorted();
  await Bun.write(join(folder.path, "copy", "inbox.db"), crypto.getRandomValues(new Uint8Array(10_000)));
  const damaged = await restore();
  expect([damaged.exitCode, damaged.stderr]).toEqual([1, expect.stringContaining("Nothing was changed")]);
  await rm(join(folder.path, "copy", "inbox.db"));
  expect((await restore()).stderr).toContain("There is no copy/inbox.db");
  expect((await readdir(join(folder.path, "data"))).toSorted()).toEqual(before);
});

test("backup names a handlers' database on Postgres without its password and explains how to copy it", async () => {
  await using folder = await temporaryFolder();
  {
    await using server = await serverWith({}, {}, folder.path);
    await server.post(user("user_1"), { id: "msg_1" });
  }
  const env = { DATABASE_URL: "postgres://ada:secret@db.test/app" };
  const { stdout, exitCode } = await runCommand(folder.path, ["backup", "copy"], env);
  expect(exitCode).toBe(0);
  expect(stdout).toContain("app on db.test:5432: copy it after this, not before");
  expect(stdout).not.toContain("secret");
  expect(await readdir(join(folder.path, "copy"))).toEqual(["inbox.db"]);
});
