// `ensureUser` in an application's own process, on Node and on Bun, with each database client, raced against the events
// of the mirror: one row for each user, with the newest state.

import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join, resolve } from "node:path";

import { createClerkClient, type UserJSON } from "@clerk/backend";
import { SQL } from "bun";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import { drizzle as drizzlePostgres } from "drizzle-orm/postgres-js";
import { Pool } from "pg";
import connect from "postgres";

import { buildEnsureUser } from "../../scripts/build-ensure-user.ts";
import { type Effects, openEffects } from "../../src/db/effects.ts";
import { parseDatabaseUrl } from "../../src/db/url.ts";
import { ensureUser } from "../../src/mirror/ensure-user.ts";
import type { ClerkObject } from "../../src/mirror/table.ts";
import { users } from "../../src/mirror/users.ts";
import type { MirrorTable } from "../../src/mirror/write.ts";
import { type ClerkApi, startClerkApi } from "../clerk-api.ts";
import { temporaryFolder } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { seeded } from "../random.ts";
import { rejection } from "../rejection.ts";
import { mirrorIn, rowsOf, writeEvent } from "./databases.ts";

setDefaultTimeout(60_000);

const ROOT = resolve(import.meta.dir, "../..");
const APPLICATION = join(import.meta.dir, "ensure-users.mjs");
const SOURCE = join(ROOT, "src/mirror/ensure-user.ts");
// With nine clients on Postgres, 1,008 races.
const USERS = 112;
const CONCURRENCY = 8;

const node = Bun.which("node");
const nodeVersion = node ? Bun.spawnSync([node, "--version"]).stdout.toString().trim() : "none";
const noNode = Number(/^v(\d+)/.exec(nodeVersion)?.[1] ?? 0) >= 20 ? undefined : `needs Node 20, found ${nodeVersion}`;
if (noNode) console.log(`skipped: ${noNode}`);
if (noPostgres) console.log(`skipped: ${noPostgres}`);

const folder = await temporaryFolder();
let built: string;
beforeAll(async () => {
  built = await buildEnsureUser(folder.path);
});
let started: ReturnType<typeof startPostgres> | undefined;
// Ends with this process.
const postgres = () => (started ??= startPostgres());

const NODE = ["pg", "postgres", "drizzle with pg", "drizzle with postgres"];
const BUN = ["pg", "postgres", "drizzle with pg", "Bun.SQL", "drizzle with Bun.SQL"];

test.skipIf(noNode !== undefined || noPostgres !== undefined).each(NODE)("on Node with %s", async (client) => {
  const url = await (await postgres()).database();
  const { runtime } = await race([node!, APPLICATION], { module: built, client, url });
  expect(runtime).toBe(nodeVersion);
});

test.skipIf(noPostgres !== undefined).each(BUN)("on Bun with %s", async (client) => {
  const url = await (await postgres()).database();
  const { runtime } = await race([process.execPath, APPLICATION], { module: SOURCE, client, url });
  expect(runtime).toBe("bun");
});

test.each(["bun:sqlite", "node:sqlite", "Bun.SQL", "drizzle with bun:sqlite"])(
  "on Bun and SQLite with %s",
  async (client) => {
    const url = `sqlite:${join(folder.path, `${client.replaceAll(/\W/g, "-")}.db`)}`;
    await race([process.execPath, APPLICATION], { module: SOURCE, client, url });
  },
);

test.skipIf(noPostgres !== undefined)("writes in the client's own transaction", async () => {
  const url = await (await postgres()).database();
  await using api = await startClerkApi();
  await using effects = await openEffects(parseDatabaseUrl(url));
  const [to] = (await mirrorIn(effects, { only: [users] })) as [MirrorTable];
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  const within = (database: object) => async (): Promise<void> => {
    const { id } = api.addUser();
    expect(await ensureUser(database, clerk, id)).toMatchObject({ id, deleted_at: null });
    expect(await rowsOf(effects, to)).toEqual({});
    throw new Error("rolled back");
  };
  const pool = new Pool({
    connectionString: url,
    options: `-c search_path=${new URL(url).searchParams.get("search_path")}`,
  });
  const client = await pool.connect();
  await client.query("begin");
  expect(await rejection(within(client)())).toBe("rolled back");
  await client.query("rollback");
  client.release();
  const sql = connect(url);
  expect(await rejection(sql.begin((tx) => within(tx)()))).toBe("rolled back");
  const bun = new SQL(url);
  expect(await rejection(bun.begin((tx) => within(tx)()))).toBe("rolled back");
  expect(await rejection(drizzlePg({ client: pool }).transaction((tx) => within(tx)()))).toBe("rolled back");
  expect(await rejection(drizzlePostgres({ client: sql }).transaction((tx) => within(tx)()))).toBe("rolled back");
  await Promise.all([pool.end(), sql.end(), bun.close()]);
  expect(await rowsOf(effects, to)).toEqual({});
});

test("the file for Node imports nothing, and does not use Bun", async () => {
  const text = await Bun.file(built).text();
  expect(text).not.toMatch(/\b(import|require)\b/);
  expect(text).not.toMatch(/\bBun\.(?!SQL,)/);
});

test("refuses an unknown client, and names those that it knows", async () => {
  const clerk = { users: { getUser: async () => ({ raw: null }) } };
  expect(await rejection(ensureUser({}, clerk, "user_1"))).toContain(
    "Pass Bun.SQL, a pool or client of pg, postgres, a Drizzle",
  );
  const database = Object.assign(async () => [], { options: { adapter: "sqlite" } });
  expect(await rejection(ensureUser(database, clerk, "user_1"))).toContain("update @clerk/backend");
});

/** When the events of a user arrive: before the call, between its read and its write, beside it, or after it. */
const ORDERS = ["before", "between", "beside", "after"] as const;

/**
 * Calls `ensureUser` for many users in another process. Half of the time, Clerk's API still has the older state. Checks
 * that every row ends with the newest one, and that the call has returned one of the two.
 */
async function race(command: string[], options: { module: string; client: string; url: string }) {
  await using api: ClerkApi = await startClerkApi();
  await using effects: Effects = await openEffects(parseDatabaseUrl(options.url), { max: 4 });
  const [to] = (await mirrorIn(effects, { only: [users] })) as [MirrorTable];
  const random = seeded(7);
  const cases = api.fill(USERS).map((older, index) => {
    const newer: UserJSON = { ...older, first_name: "Newer", updated_at: older.updated_at + 5 };
    if (index % 2 === 1) api.users.set(older.id, newer);
    return { id: older.id, older, newer, order: ORDERS[Math.floor(index / 2) % 4]! };
  });
  type Case = (typeof cases)[number];
  const send = async ({ id, older, newer }: Case) => {
    const states = random() < 0.5 ? [older, newer] : [newer, older];
    for (const state of states)
      await writeEvent(effects, to, {
        object: state as unknown as ClerkObject,
        deleted: false,
        at: state.updated_at,
        delivery: `msg_${id}_${state.updated_at}`,
      });
  };
  const byId = new Map(cases.map((one) => [one.id, one]));
  const beside: Promise<void>[] = [];
  api.before = async ({ path }) => {
    const found = byId.get(path.split("/").at(-1)!);
    if (found?.order === "between") await send(found);
    if (found?.order === "beside") beside.push(Bun.sleep(random() * 6).then(() => send(found)));
  };
  for (const one of cases) if (one.order === "before") await send(one);

  const child = Bun.spawn(command, { cwd: ROOT, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  const ids = cases.map(({ id }) => id);
  await child.stdin.write(
    JSON.stringify({ ...options, secretKey: api.secretKey, apiUrl: api.url, ids, concurrency: CONCURRENCY }),
  );
  await child.stdin.end();
  const [stdout, stderr] = await Promise.all([child.stdout, child.stderr].map((stream) => new Response(stream).text()));
  expect(await child.exited, stderr).toBe(0);
  await Promise.all(beside);
  for (const one of cases) if (one.order === "after") await send(one);

  const { runtime, rows } = JSON.parse(stdout!) as { runtime: string; rows: Record<string, unknown>[] };
  expect(rows).toHaveLength(USERS);
  for (const row of rows) {
    const { older, newer } = byId.get(row["id"] as string)!;
    const state = row["first_name"] === "Newer" ? newer : older;
    expect(row).toMatchObject({
      first_name: state.first_name,
      email: state.email_addresses[0]!.email_address,
      created_at: new Date(state.created_at).toISOString(),
      updated_at: new Date(state.updated_at).toISOString(),
      banned: false,
      deleted_at: null,
      raw: { object: "user", first_name: state.first_name },
    });
  }
  const stored = await rowsOf(effects, to);
  expect(Object.keys(stored)).toHaveLength(USERS);
  for (const { id, newer, order } of cases)
    expect(stored[id], order).toMatchObject({
      first_name: "Newer",
      updated_at: new Date(newer.updated_at),
      deleted_at: null,
      raw: { first_name: "Newer" },
    });
  return { runtime };
}
