// `bun erase user_…`: nothing about the user is left in any file of the databases, and the rest is as before.

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { SQL } from "bun";

import { describeErasure } from "../../src/cli/erase.ts";
import { post, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";

setDefaultTimeout(60_000);
if (noPostgres) console.log(`skipped: ${noPostgres}`);

const USER = "user_2erase000000000000000000";
const OTHER = "user_2other000000000000000000";
const HANDLERS = {
  "[...event].ts": `import { mirror } from "bellhop/mirror"; export default mirror();`,
  "user.created.ts": `export default ({ data, log }) => {
    log.info("welcomed " + data.first_name);
    if (data.first_name[0] === "Z") throw new Error("no plan for " + data.first_name.replace(/\\d/, ""));
  };`,
};

const user = (id: string, name: string, updated: number) => ({
  id,
  object: "user",
  first_name: name,
  email_addresses: [{ id: `idn_${id}`, email_address: `${name.toLowerCase()}@example.com` }],
  primary_email_address_id: `idn_${id}`,
  created_at: 1_700_000_000_000,
  updated_at: 1_700_000_000_000 + updated,
});
const event = (type: string, data: object) => ({ type, object: "event", data, timestamp: Date.now() });

/** Many versions, so that pages are split, freed and written again. */
async function sendHistory(url: string): Promise<string[]> {
  const ids: string[] = [];
  const send = async (body: object) => {
    ids.push(`msg_${ids.length}`);
    await post(url, body, { id: ids.at(-1)! });
  };
  for (let n = 0; n < 40; n += 1) {
    await send(event(n === 0 ? "user.created" : "user.updated", user(USER, `Zebulon${n}`, n)));
    await send(event(n === 0 ? "user.created" : "user.updated", user(OTHER, `Quentin${n}`, n)));
  }
  await send(event("session.created", { id: "sess_1", object: "session", user_id: USER, note: "Zebulon" }));
  await send(
    event("email.created", { id: "ema_1", object: "email", to_email_address: "zebulon3@example.com", body: "Zebulon" }),
  );
  await send(
    event("organizationMembership.created", {
      id: "orgmem_1",
      object: "organization_membership",
      organization: { id: "org_1" },
      public_user_data: { user_id: USER, first_name: "Zebulon" },
      role: "org:zebulon",
      created_at: 1,
      updated_at: 2,
    }),
  );
  return ids;
}

async function filesWith(folder: string, text: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => /\.db/.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      const bytes = Buffer.from(await Bun.file(join(folder, name)).bytes());
      return bytes.includes(text) || bytes.includes(text.toLowerCase()) ? [name] : [];
    }),
  );
  return found.flat();
}

test("no file of SQLite has anything of an erased user but ids, while the server runs", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, HANDLERS);
  await using server = await spawnServer(folder.path);
  const ids = await sendHistory(server.url);
  const data = join(folder.path, "data");
  await until("the failed run to wait", async () =>
    (await server.get("msg_0"))?.runs.some(({ attempts }) => attempts.some(({ outcome }) => outcome === "retry")),
  );
  for (const id of ids.slice(1)) await server.ended(id);
  expect(await filesWith(data, "Zebulon")).not.toEqual([]);

  const refused = await runCommand(folder.path, ["erase", USER]);
  expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("--yes")]);
  const waits = await runCommand(folder.path, ["erase", USER, "--yes"]);
  expect(waits.stderr).toBe("");
  expect([waits.exitCode, waits.stdout]).toEqual([1, expect.stringContaining("1 delivery has unfinished runs")]);
  const erased = await runCommand(folder.path, ["erase", USER, "--yes", "--now"]);
  expect([erased.exitCode, erased.stderr]).toEqual([0, ""]);
  expect(erased.stdout).toContain(`Erased: ${USER}`);
  expect(erased.stdout).toContain("clerk_users: 1 row, ids kept");
  expect(erased.stdout).toContain("clerk_organization_memberships: 1 row");

  expect(await filesWith(data, "Zebulon")).toEqual([]);
  expect(await filesWith(data, USER)).not.toEqual([]);
  expect(await filesWith(data, "Quentin")).not.toEqual([]);
  await using sql = new SQL(`sqlite://${join(data, "app.db")}`);
  const rows = await sql`select id, first_name, email, raw, created_at from clerk_users order by id`;
  expect([...rows]).toMatchObject([
    { id: USER, first_name: null, email: null, raw: null, created_at: null },
    { id: OTHER, first_name: "Quentin39" },
  ]);
  const [delivery, other] = [await server.get("msg_2"), await server.get("msg_3")];
  expect(delivery).toMatchObject({ id: "msg_2", subject: USER, headers: null });
  expect(other!.runs.every(({ state }) => state === "done")).toBe(true);
  expect(server.output()).toContain(`${USER} is erased from`);
});

test("ERASE_AFTER erases a deleted user by itself", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, HANDLERS);
  await using server = await spawnServer(folder.path, { env: { ERASE_AFTER: "1m" } });
  await post(server.url, event("user.created", user(USER, "Quentin", 1)), { id: "msg_1" });
  await post(server.url, event("user.deleted", { id: USER, object: "user", deleted: true }), { id: "msg_2" });
  await post(server.url, event("session.ended", { id: "sess_1", object: "session" }), { id: "msg_3" });
  for (const id of ["msg_2", "msg_3"]) await server.ended(id);
  await server[Symbol.asyncDispose]();
  {
    // A time is trusted only some minutes after the receipts.
    using inbox = new Database(join(folder.path, "data", "inbox.db"));
    inbox.run("update delivery set received_at = received_at - 3600000 where id <> 'msg_3'");
    inbox.run("insert or replace into meta(key, value) values ('trusted time', 99999999999999)");
  }
  // The first round is at the start.
  await using again = await spawnServer(folder.path, { env: { ERASE_AFTER: "1m" } });
  await until("the erasure", () => again.output().includes(`${USER} is erased from`));
  expect(await filesWith(join(folder.path, "data"), "Quentin")).toEqual([]);
});

test("a user is erased before the tables of a new mirror exist", async () => {
  await using folder = await temporaryFolder();
  await using server = await spawnServer(folder.path);
  await post(server.url, event("user.created", user(USER, "Zebulon", 1)), { id: "msg_1" });
  server.process.kill("SIGTERM");
  await server.process.exited;
  // As after `bun new mirror`, before the next start.
  await writeHandlers(folder.path, HANDLERS);
  const erased = await runCommand(folder.path, ["erase", USER, "--yes"]);
  expect([erased.exitCode, erased.stderr]).toEqual([0, ""]);
  expect(erased.stdout).toContain("1 delivery");
  expect(await filesWith(join(folder.path, "data"), "Zebulon")).toEqual([]);
});

test("the report names what is erased, what waits and what is stored elsewhere", () => {
  const erasure = { user: USER, cause: "person", requestedAt: 1, finishedAt: null, givesUp: false } as const;
  const text = describeErasure({ ...erasure, searched: 1, deliveries: 1_200, held: 2, elsewhere: { clerk_users: 1 } });
  for (const part of ["Not finished", "1,200 deliveries", "2 deliveries have unfinished runs", "Svix", "backups"])
    expect(text).toContain(part);
});

describe.skipIf(noPostgres !== undefined)("an inbox in Postgres", () => {
  let postgres: Postgres;
  beforeAll(async () => void (postgres = await startPostgres()));
  afterAll(() => postgres[Symbol.asyncDispose](), 60_000);

  test("is erased by a command without a server on this machine", async () => {
    const env = { INBOX_URL: await postgres.database() };
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, HANDLERS);
    // The mirror's tables do not exist yet.
    expect((await runCommand(folder.path, ["erase", USER, "--yes"], env)).exitCode).toBe(0);
    await using server = await spawnServer(folder.path, { env });
    for (const id of await sendHistory(server.url)) if (id !== "msg_0") await server.ended(id);
    const erased = await runCommand(folder.path, ["erase", USER, "--yes", "--now", "--json"], env);
    expect([erased.exitCode, erased.stderr]).toEqual([0, ""]);
    expect(JSON.parse(erased.stdout)).toMatchObject({ held: 0, elsewhere: { clerk_users: 1 } });
    await using sql = new SQL(env.INBOX_URL, { max: 1 });
    const texts = await sql.unsafe(`
      select convert_from(body, 'utf8') || headers as text from payload
      union all select message from problem
      union all select coalesce(error, '') || coalesce(log, '') from attempt
      union all select to_jsonb(u)::text from clerk_users u
      union all select to_jsonb(m)::text from clerk_organization_memberships m`);
    const all = texts.map(({ text }: { text: string }) => text).join("\n");
    expect(all).toContain("Quentin");
    expect(all.toLowerCase()).not.toContain("zebulon");
  });
});
