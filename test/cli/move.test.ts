// `bun move`: the inbox and the ledger from SQLite to Postgres and back.

import { Database } from "bun:sqlite";
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

import { SQL } from "bun";

import { openSqliteStore } from "../../src/store/sqlite.ts";
import { TABLES } from "../../src/transfer/move-inbox.ts";
import { environment, post, runCommand, type SpawnedServer, spawnServer, until, writeHandlers } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { temporaryFolder } from "../temporary-folder.ts";

setDefaultTimeout(60_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);
if (!postgres) console.log(`skipped: ${noPostgres}`);

const MAIN = resolve(import.meta.dir, "../../src/main.ts");
const inboxFile = (folder: string) => join(folder, "data", "inbox.db");
/** Rows of `meta` that belong to a database, or that `bun move` writes. */
const isOwn = ({ key }: { key?: unknown }) => /^(?:schema|reader|starts|probe|move.*)$/.test(String(key));

type Rows = Record<string, unknown>[];

/** The rows of each table in the order of its key, with bytes as Postgres writes them. */
function sqliteRows(file: string): Record<string, Rows> {
  using db = new Database(file, { readonly: true });
  const names = db
    .query<{ name: string }, []>("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
    .all()
    .map(({ name }) => name);
  const rowsOf = (name: string) =>
    (db.query(`select * from ${name} order by 1, 2`).all() as Rows).map((row) =>
      row.body instanceof Uint8Array ? { ...row, body: `\\x${row.body.toHex()}` } : row,
    );
  return Object.fromEntries(names.map((name) => [name, rowsOf(name).filter((row) => !isOwn(row))]));
}

async function postgresRows(url: string, names: string[]): Promise<Record<string, Rows>> {
  await using sql = new SQL(url, { max: 1 });
  const found: Record<string, Rows> = {};
  for (const name of names) {
    const rows: { row: string }[] = await sql.unsafe(
      `select row_to_json(t)::text as row from (select * from ${name} order by 1, 2) t`,
    );
    found[name] = rows.map(({ row }) => JSON.parse(row) as Rows[number]).filter((row) => !isOwn(row));
  }
  return found;
}

async function query(url: string, text: string): Promise<Rows> {
  await using sql = new SQL(url, { max: 1 });
  return [...((await sql.unsafe(text)) as Rows)];
}

const handlers = {
  "_schema.sql": "create table if not exists effects (delivery text, n integer);",
  // Records its place among the runs of its subject, which run one at a time.
  "user.updated.ts": `
    import { existsSync } from "node:fs";
    export default async ({ db, delivery, log }) => {
      log.info("naïve – 'quoted' \\0");
      if (delivery.id.startsWith("msg_slow") && existsSync("hang")) await Bun.sleep(60_000);
      await db\`insert into effects select \${delivery.id}, count(*) from effects\`;
    };`,
  "session.created.ts": `
    import { NonRetriableError } from "bellhop";
    export default () => { throw new NonRetriableError("no"); };`,
  "email.created.ts": "export default () => {};",
  "organization.created.ts": "export default async () => { await Bun.sleep(60_000); };",
};
const event = (type: string, id: string, time = Date.now()) => ({
  type,
  object: "event",
  timestamp: time,
  data: { id },
});

async function stop(server: SpawnedServer, signal: "SIGTERM" | "SIGKILL") {
  server.process.kill(signal);
  await server.process.exited;
}

/** An inbox with runs in every state, left by servers that were killed. */
async function usedInbox(folder: string) {
  await writeHandlers(folder, handlers);
  await Bun.write(join(folder, "hang"), "");
  {
    await using server = await spawnServer(folder);
    const send = (type: string, subject: string, id: string, time?: number) =>
      post(server.url, event(type, subject, time), { id });
    const start = Date.now() - 10_000;
    await send("user.updated", "user_1", "msg_done", start);
    await send("session.created", "sess_1", "msg_dead");
    await send("email.created", "ema_1", "msg_email");
    await send("role.created", "role_1", "msg_unhandled");
    await send("organization.created", "org_1", "msg_parked");
    for (const id of ["msg_done", "msg_dead", "msg_email"]) await server.ended(id);
    expect((await runCommand(folder, ["replay", "msg_done", "--all"])).exitCode).toBe(0);
    await server.ended("msg_done");
    await send("user.updated", "user_1", "msg_slow_1", start + 1);
    await send("user.updated", "user_2", "msg_slow_other", start + 1);
    for (const n of [3, 2, 4]) await send("user.updated", "user_1", `msg_waiting_${n}`, start + n);
    await until("a running run", async () => (await server.get("msg_slow_other"))?.runs[0]?.state === "running");
    await stop(server, "SIGKILL");
  }
  await rm(join(folder, "handlers", "organization.created.ts"));
  {
    await using server = await spawnServer(folder);
    await until("the parked run", async () => (await server.get("msg_parked"))?.runs[0]?.parked);
    await until("a running run", async () => (await server.get("msg_slow_1"))?.runs[0]?.state === "running");
    await until("a running run", async () => (await server.get("msg_slow_other"))?.runs[0]?.state === "running");
    await stop(server, "SIGKILL");
  }
  await rm(join(folder, "hang"));
  // As if the server had died after this run's commit: its effect is there, and its end is not recorded.
  using app = new Database(join(folder, "data", "app.db"));
  app.run("insert into bellhop_ledger values ('msg_slow_other', 'user.updated', '', 2, 'committed')");
}

/** `count` deliveries, each with a payload, a run and an attempt. */
async function fillInbox(folder: string, count: number) {
  await mkdir(join(folder, "data"), { recursive: true });
  await mkdir(join(folder, "handlers"), { recursive: true });
  await openSqliteStore(inboxFile(folder)).close();
  using db = new Database(inboxFile(folder));
  const from = `with recursive n(n) as (select 1 union all select n + 1 from n where n < ${count})`;
  const time = "1767225600000 + n";
  db.run("begin");
  for (const statement of [
    `insert into delivery(seq, id, type, subject, at, sample, received_at)
      ${from} select n, 'msg_' || n, 'user.updated', 'user_' || (n % 5000), ${time}, 0, ${time} from n`,
    `insert into payload ${from} select n, '{"content-type":"application/json"}', randomblob(1000) from n`,
    `insert into run(id, seq, handler, order_key, at, state, due, attempts)
      ${from} select n, n, 'user.updated', 'user:subject user_' || (n % 5000), ${time}, 2, 0, 1 from n`,
    `insert into order_key(key, done_at) ${from} select distinct 'user:subject user_' || (n % 5000), 0 from n`,
    `insert into attempt ${from} select n, 1, ${time}, 3, 'done', null, '[]' from n`,
  ])
    db.run(statement);
  db.run("commit");
}

/** Starts a move, and kills it while payloads are being copied. */
async function interruptMove(folder: string, url: string) {
  const child = Bun.spawn([process.execPath, MAIN, "move", url], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...environment(folder) },
    stdio: ["ignore", "ignore", "ignore"],
  });
  await using sql = new SQL(url, { max: 1 });
  await until("the middle of the move", async () => {
    const [row] = await sql`select count(*)::int as n from payload`.catch(() => [{ n: 0 }]);
    return row.n > 0;
  });
  child.kill("SIGKILL");
  await child.exited;
  const [row] = await sql`select count(*)::int as n from payload`;
  expect(row.n).toBeWithin(1, 19_999);
}

async function expectRefusal(run: ReturnType<typeof runCommand>, message: string, code = 1) {
  const { exitCode, stderr } = await run;
  expect(stderr).toContain(message);
  expect(exitCode).toBe(code);
}

async function expectNoStart(folder: string, env: Record<string, string>, message: string) {
  const failure: unknown = await spawnServer(folder, { env }).then(
    () => "started",
    (error: unknown) => String(error),
  );
  expect(failure).toContain("the server ended with 78");
  expect(failure).toContain(message);
}

describe.skipIf(!postgres)("bun move", () => {
  test("moves every row to Postgres, where the runs continue in order and exactly once, and back", async () => {
    await using folder = await temporaryFolder();
    await usedInbox(folder.path);
    const url = await postgres!.database();
    const original = sqliteRows(inboxFile(folder.path));
    expect(new Set(original.run!.map(({ state }) => state))).toEqual(new Set([0, 1, 2, 3]));
    expect(original.run!.some((run) => run.parked_at !== null)).toBe(true);
    expect(original.payload!.length).toBeLessThan(original.delivery!.length);

    const moved = await runCommand(folder.path, ["move", url]);
    expect([moved.exitCode, moved.stderr]).toEqual([0, ""]);
    expect(moved.stdout).toContain(`has ${original.delivery!.length} deliveries and ${original.run!.length} runs now`);
    expect(moved.stdout).toContain("The tables of your handlers are still in ");
    expect(await postgresRows(url, Object.keys(original))).toEqual(original);
    await expectNoStart(folder.path, {}, "The inbox was moved to postgres on 127.0.0.1");
    await expectRefusal(runCommand(folder.path, ["move", url]), "was moved to postgres on 127.0.0.1");

    const back = join(folder.path, "back");
    const env = { INBOX_URL: url, DATA_DIR: back };
    const again = await runCommand(folder.path, ["move", "sqlite:"], env);
    expect([again.exitCode, again.stderr]).toEqual([0, ""]);
    expect(sqliteRows(join(back, "inbox.db"))).toEqual(original);
    const ledger = "select * from bellhop_ledger order by delivery, handler, replay";
    using app = new Database(join(folder.path, "data", "app.db"));
    using appBack = new Database(join(back, "app.db"));
    expect(appBack.query(ledger).all()).toEqual(app.query(ledger).all());
    expect(app.query(ledger).all().length).toBeGreaterThan(2);
    await expectNoStart(folder.path, env, "The inbox was moved to /");
    await expectRefusal(runCommand(folder.path, ["move", "sqlite:"], env), "was moved to /");
    // The old copy has deliveries.
    await expectRefusal(runCommand(folder.path, ["move", url], { DATA_DIR: back }), "has deliveries, and they are not");

    const second = await postgres!.database();
    expect((await runCommand(folder.path, ["move", `${second}&prepare=false`], { DATA_DIR: back })).exitCode).toBe(0);
    await using server = await spawnServer(folder.path, { env: { INBOX_URL: second } });
    const waiting = ["msg_slow_1", "msg_waiting_2", "msg_waiting_3", "msg_waiting_4"];
    for (const id of [...waiting, "msg_slow_other"])
      expect((await server.ended(id, 20_000)).runs).toMatchObject([{ state: "done" }]);
    // The one whose ledger row was moved has its effect in app.db.
    expect((await query(second, "select delivery from effects order by n")).map((row) => row.delivery)).toEqual(
      waiting,
    );
    expect((await server.get("msg_done"))?.runs.map(({ state }) => state)).toEqual(["done", "done"]);
    await post(server.url, event("user.updated", "user_9"), { id: "msg_new" });
    await server.ended("msg_new");
    const highest = (rows: Rows, column: string) => Math.max(...rows.map((row) => Number(row[column])));
    const [added] = await query(
      second,
      "select d.seq, r.id from delivery d join run r using (seq) where d.id = 'msg_new'",
    );
    expect(Number(added!.seq)).toBe(highest(original.delivery!, "seq") + 1);
    expect(Number(added!.id)).toBe(highest(original.run!, "id") + 1);

    await expectRefusal(
      runCommand(folder.path, ["move", "sqlite:"], { INBOX_URL: second, DATA_DIR: join(folder.path, "third") }),
      `A server is running on postgres on 127.0.0.1:${postgres!.port}: process ${server.process.pid}`,
    );
    await stop(server, "SIGTERM");
  }, 120_000);

  test("continues after kill -9, and no server starts on the incomplete copy", async () => {
    await using folder = await temporaryFolder();
    await fillInbox(folder.path, 20_000);
    const url = await postgres!.database();
    await interruptMove(folder.path, url);
    await expectNoStart(folder.path, { INBOX_URL: url }, "The inbox is an incomplete copy of the one in /");
    await expectRefusal(
      runCommand(folder.path, ["move", "sqlite:"], { INBOX_URL: url, DATA_DIR: join(folder.path, "other") }),
      "The inbox is an incomplete copy of the one in /",
    );

    const moved = await runCommand(folder.path, ["move", url]);
    expect(moved.exitCode).toBe(0);
    const original = sqliteRows(inboxFile(folder.path));
    expect(await postgresRows(url, Object.keys(original))).toEqual(original);
  });

  test("opens the copy when it was killed after it closed the source", async () => {
    await using folder = await temporaryFolder();
    await fillInbox(folder.path, 10);
    const url = await postgres!.database();
    expect((await runCommand(folder.path, ["move", url])).exitCode).toBe(0);
    using db = new Database(inboxFile(folder.path));
    const { value } = db.query("select value from meta where key like 'move to %'").get() as { value: number };
    await query(url, `insert into meta values ('move from somewhere', ${value})`);
    await expectNoStart(folder.path, { INBOX_URL: url }, "The inbox is an incomplete copy of the one in somewhere");
    const again = await runCommand(folder.path, ["move", url]);
    expect([again.exitCode, again.stderr]).toEqual([0, ""]);
    expect(again.stdout).toContain("has 10 deliveries and 10 runs now");
    await using server = await spawnServer(folder.path, { env: { INBOX_URL: url } });
    await stop(server, "SIGTERM");
  });

  test("a server that starts on the source cancels an interrupted move", async () => {
    await using folder = await temporaryFolder();
    await fillInbox(folder.path, 20_000);
    const url = await postgres!.database();
    await interruptMove(folder.path, url);
    await using server = await spawnServer(folder.path);
    await expectRefusal(runCommand(folder.path, ["move", url]), "Another Bellhop server is using ");
    await stop(server, "SIGTERM");
    await expectRefusal(runCommand(folder.path, ["move", url]), "they are not from an interrupted move of this one");
    await expectNoStart(folder.path, { INBOX_URL: url }, "The inbox is an incomplete copy");
  });

  test("a server that was suspended during the move accepts nothing afterwards", async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, { "user.updated.ts": "export default () => {};" });
    const url = await postgres!.database();
    const env = { INBOX_URL: url };
    await using server = await spawnServer(folder.path, { env });
    await post(server.url, event("user.updated", "user_1"), { id: "msg_1" });
    await server.ended("msg_1");
    server.process.kill("SIGSTOP");
    // Instead of waiting for it to be silent for long enough.
    await query(url, "update server set seen_at = seen_at - interval '1 minute'");
    const moved = await runCommand(folder.path, ["move", "sqlite:"], env);
    expect([moved.exitCode, moved.stderr]).toEqual([0, ""]);
    server.process.kill("SIGCONT");
    const answer = async () => (await post(server.url, event("user.updated", "user_1"))).status;
    await until("the fence", async () => (await answer()) === 503);
    await Bun.sleep(3_000);
    expect(await answer()).toBe(503);
  });

  test("refuses what it can't move", async () => {
    await using folder = await temporaryFolder();
    const url = await postgres!.database();
    await expectRefusal(runCommand(folder.path, ["move", url]), "There is no inbox in ");
    await expectRefusal(runCommand(folder.path, ["move", "sqlite:"]), "INBOX_URL, which is not set");
    await expectRefusal(runCommand(folder.path, ["move", "mysql://localhost"]), "The address is a mysql address");
    await fillInbox(folder.path, 1);
    const nowhere = "postgres://ada:secret@127.0.0.1:1/app";
    const { stderr, exitCode } = await runCommand(folder.path, ["move", nowhere]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("app on 127.0.0.1:1 does not answer")]);
    expect(stderr).not.toContain("secret");
    await expectRefusal(
      runCommand(folder.path, ["move", "sqlite:"], { INBOX_URL: url, DATA_DIR: join(folder.path, "other") }),
      "There is no delivery in postgres on 127.0.0.1",
    );
    await using server = await spawnServer(folder.path, {
      env: { INBOX_URL: url, DATA_DIR: join(folder.path, "data") },
    });
    await expectRefusal(runCommand(folder.path, ["move", url]), "A server is running on postgres on 127.0.0.1");
    await stop(server, "SIGTERM");
  });
});

test("every table of the inbox is moved", async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, "data"));
  await openSqliteStore(inboxFile(folder.path)).close();
  const moved = TABLES.map(({ name }) => name);
  expect([...moved, "meta"].toSorted()).toEqual(Object.keys(sqliteRows(inboxFile(folder.path))).toSorted());
});
