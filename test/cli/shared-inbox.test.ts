// Commands and the inspector on an inbox in Postgres: from any machine, one inbox.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

import { SQL } from "bun";

import { version } from "../../package.json";
import type { ServerRowJson } from "../../src/api/server-types.ts";
import {
  freePort,
  post,
  runCommand,
  serverWith,
  spawnServer,
  temporaryFolder,
  type TestServer,
  until,
  writeHandlers,
} from "../harness.ts";
import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";

setDefaultTimeout(30_000);
if (noPostgres) console.log(`skipped: ${noPostgres}`);

const TOKEN = "an-inspector-token-of-32-letters";
const HANDLERS = {
  "user.created.ts": `import { NonRetriableError } from "bellhop";
export default ({ data, run }) => { if (data.fails && !run.replay) throw new NonRetriableError("broken"); };`,
};
const user = (id: string, fails = false) => ({ type: "user.created", object: "event", data: { id, fails } });

describe.skipIf(noPostgres !== undefined)("an inbox in Postgres", () => {
  let postgres: Postgres;
  beforeAll(async () => void (postgres = await startPostgres()));
  afterAll(() => postgres[Symbol.asyncDispose](), 60_000);

  test("commands show and replay deliveries on a machine without a server or handlers", async () => {
    const env = { INBOX_URL: await postgres.database() };
    await using machine = await temporaryFolder();
    await using elsewhere = await temporaryFolder();
    await writeHandlers(machine.path, HANDLERS);
    await using server = await spawnServer(machine.path, { env });
    await post(server.url, user("user_1", true), { id: "msg_1" });
    await server.ended("msg_1");

    const listed = await runCommand(elsewhere.path, ["deliveries"], env);
    expect([listed.exitCode, listed.stderr]).toEqual([0, ""]);
    expect(listed.stdout).toContain("msg_1");
    const shown = await runCommand(elsewhere.path, ["deliveries", "msg_1"], env);
    expect(shown.stdout).toContain("broken");
    // The code is on the other machine: its lines are stored with the error.
    expect(shown.stdout).toMatch(
      /at handlers\/user\.created\.ts:2:\d+\n {11}1 \| import .*\n {6}> {4}2 \| export default/,
    );
    const problem = /p_[\da-f]{12}/.exec(shown.stdout)?.[0] ?? "";
    expect((await runCommand(elsewhere.path, ["problems", problem], env)).stdout).toContain("    2 | export default");
    const replayed = await runCommand(elsewhere.path, ["replay", "msg_1"], env);
    expect([replayed.exitCode, replayed.stderr]).toEqual([0, ""]);
    expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "dead" }, { state: "done" }] });
    const bulk = await runCommand(elsewhere.path, ["replay", "--dead", "--yes"], env);
    expect(bulk.stderr).toBe("");
  });

  test("doctor finds the server of this machine, and replay --lost reads the ledger by itself", async () => {
    const env = { INBOX_URL: await postgres.database() };
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": "export default async ({ db }) => void (await db`select 1`);",
    });
    await using server = await spawnServer(folder.path, { env });
    await post(server.url, user("user_1"), { id: "msg_1" });
    await server.ended("msg_1");
    const { stdout } = await runCommand(folder.path, ["doctor"], env);
    expect(stdout).toContain("✓ server");
    expect(stdout).toContain("✓ refused");
    await using sql = new SQL(env.INBOX_URL, { max: 1 });
    await sql`delete from bellhop_ledger`;
    const lost = await runCommand(folder.path, ["replay", "--lost", "--dry-run"], env);
    expect([lost.exitCode, lost.stderr]).toEqual([0, ""]);
    expect(lost.stdout).toContain("1 run is done and missing in the handlers' database");
  });

  test("commands open the inbox of INBOX_URL, also beside a server with an inbox in SQLite", async () => {
    await using server = await serverWith(HANDLERS);
    await server.post(user("user_1"), { id: "msg_sqlite" });
    await server.ended("msg_sqlite");
    const listed = await runCommand(server.folder, ["deliveries"], { INBOX_URL: await postgres.database() });
    expect([listed.exitCode, listed.stderr]).toEqual([0, ""]);
    expect(listed.stdout).not.toContain("msg_sqlite");
  });

  test("backup and restore are left to the database", async () => {
    const env = { INBOX_URL: await postgres.database() };
    await using folder = await temporaryFolder();
    for (const [command, remedy] of [
      ["backup", "pg_dump"],
      ["restore", "pg_restore"],
    ] as const) {
      const result = await runCommand(folder.path, [command, "copy"], env);
      expect([result.exitCode, result.stdout]).toEqual([1, ""]);
      expect(result.stderr).toContain(remedy);
      expect(result.stderr).not.toContain("postgres:secret");
    }
  });

  test("the API lists the servers of the inbox, and how their handlers differ", async () => {
    const env = { INBOX_URL: await postgres.database(), INSPECTOR_TOKEN: TOKEN };
    await using first = await serverWith({ ...HANDLERS, "user.deleted.ts": "export default () => {};" }, env);
    await using second = await serverWith({ ...HANDLERS, "session.created.ts": "export default () => {};" }, env);
    const servers = async ({ dataDir }: TestServer) => {
      const unix = join(dataDir, "bellhop.sock");
      return (await (await fetch("http://bellhop/api/servers", { unix })).json()) as ServerRowJson[];
    };
    await until("both to see each other", async () => {
      const lists = await Promise.all([servers(first), servers(second)]);
      return lists.every((list) => list.length === 2 && list[1]!.more.length > 0);
    });
    expect(await servers(first)).toMatchObject([
      { isThis: true, host: hostname(), pid: process.pid, version, running: 0, more: [], missing: [] },
      { isThis: false, host: hostname(), version, more: ["session.created"], missing: ["user.deleted"] },
    ]);
    const [, other] = await servers(second);
    expect(other).toMatchObject({ more: ["user.deleted"], missing: ["session.created"] });
    expect(other!.seenAgo).toBeLessThan(5_000);
    expect(other!.startedAt).toBeLessThanOrEqual(Date.now());
    await second.stop();
    await until("the first to notice that the second has left", async () => (await servers(first)).length === 1);
  });

  test("the feed of one server reports the deliveries of another", async () => {
    const env = { INBOX_URL: await postgres.database() };
    await using first = await serverWith(HANDLERS, env);
    await using second = await serverWith(HANDLERS, env);
    const ended = new AbortController();
    const unix = join(first.dataDir, "bellhop.sock");
    let feed = "";
    const { body } = await fetch("http://bellhop/api/feed", { unix, signal: ended.signal });
    const reading = (async () => {
      for await (const chunk of body!) feed += new TextDecoder().decode(chunk);
    })().catch(() => undefined);
    await until("the feed to be open", () => feed.includes("event: health"));
    const before = feed.length;
    await second.post(user("user_1"), { id: "msg_1" });
    await until("the first server's feed", () => feed.slice(before).includes("event: summary"));
    ended.abort();
    await reading;
  });

  test("with SQLite there is no list of servers", async () => {
    await using server = await serverWith(HANDLERS);
    const unix = join(server.dataDir, "bellhop.sock");
    expect(await (await fetch("http://bellhop/api/servers", { unix })).json()).toEqual([]);
  });

  test("SQLite for the handlers' database is refused at the start", async () => {
    await using folder = await temporaryFolder();
    const env = { INBOX_URL: await postgres.database(), DATABASE_URL: "sqlite:data/app.db" };
    await writeHandlers(folder.path, HANDLERS);
    const result = await runCommand(folder.path, ["start"], env);
    expect(result.exitCode).toBe(78);
    expect(result.stderr).toContain("each server would write to a file of its own");
  });

  test("a start waits for Postgres: /health and deliveries get 503, and everything works when it answers", async () => {
    const INBOX_URL = await postgres.database();
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, HANDLERS);
    await postgres.stop();
    const port = await freePort();
    const at = `http://127.0.0.1:${port}`;
    const starting = spawnServer(folder.path, { env: { INBOX_URL }, port });
    starting.catch(() => undefined);
    const health = async () => (await fetch(`${at}/health`).catch(() => undefined))?.status;
    await until("the port to be open", async () => (await health()) === 503);
    expect((await post(`${at}/api/webhooks`, user("user_1"), { id: "msg_1" })).status).toBe(503);
    await postgres.start();
    await using server = await starting;
    await until("/health to be well", async () => (await health()) === 200);
    expect((await post(server.url, user("user_1"), { id: "msg_1" })).status).toBe(200);
    expect(await server.ended("msg_1")).toMatchObject({ runs: [{ state: "done" }] });
    expect(server.output()).toContain("the inbox can't be written");
    expect(server.output()).toContain("the inbox can be written again");
    expect(existsSync(join(folder.path, "data", "inbox.db"))).toBe(false);
    expect(existsSync(join(folder.path, "data", "server.lock"))).toBe(false);
  });
});
