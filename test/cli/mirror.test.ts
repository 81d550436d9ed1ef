// `bun new mirror`, `bun backfill` and `bun drift`, run as commands against a stand-in for Clerk's API on a socket.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { SQL } from "bun";

import { tables } from "../../src/mirror/tables.ts";
import { type ClerkApi, startClerkApi } from "../clerk-api.ts";
import { freePort, post, runCommand, spawnServer, temporaryFolder } from "../harness.ts";

setDefaultTimeout(60_000);

const settings = (api: ClerkApi) => ({ CLERK_SECRET_KEY: api.secretKey, CLERK_API_URL: api.url });

test("a mirror is created, backfilled, updated by events, compared and repaired", async () => {
  await using folder = await temporaryFolder();
  await using api = await startClerkApi();
  const first = api.fill(1_050)[0]!;
  const env = settings(api);

  const withoutMirror = await runCommand(folder.path, ["backfill"], env);
  expect(withoutMirror.stderr).toContain("There is no mirror in");
  expect(withoutMirror.stderr).toContain("bun new mirror");

  const written = await runCommand(folder.path, ["new", "mirror"]);
  expect(written.stdout).toContain("bun backfill");
  expect(await Bun.file(join(folder.path, "handlers/[...event].ts")).text()).toContain("export default mirror();");
  // A second one would write every row twice.
  const again = await runCommand(folder.path, ["new", "mirror"]);
  expect(again).toMatchObject({ exitCode: 1, stdout: "" });
  expect(again.stderr).toContain("There is a mirror already");
  expect(again.stderr).toContain("handlers/[...event].ts");
  expect(await Bun.file(join(folder.path, "handlers/[...event]/mirror.ts")).exists()).toBe(false);

  expect((await runCommand(folder.path, ["backfill"])).stderr).toContain("CLERK_SECRET_KEY=sk_test_…");
  expect((await runCommand(folder.path, ["backfill", "--table", "people"], env)).stderr).toContain("no table people");

  // While a server receives events.
  await using server = await spawnServer(folder.path);
  const name = { ...first, first_name: "Ada", updated_at: first.updated_at + 5 };
  await post(server.url, { type: "user.updated", object: "event", data: name }, { id: "msg_1" });
  const filled = await runCommand(folder.path, ["backfill", "--rate", "1000"], env);
  expect(filled).toMatchObject({ exitCode: 0 });
  expect(filled.stdout).toMatch(/clerk_users +1,05\d from Clerk/);
  await server.ended("msg_1");

  api.users.set(first.id, name);
  const same = await runCommand(folder.path, ["drift", "--rate", "1000"], env);
  expect(same).toMatchObject({ exitCode: 0 });
  expect(same.stdout).toContain("clerk_users  1,050 in Clerk, the same");

  await using sql = new SQL(`sqlite://${join(folder.path, "data/app.db")}`);
  await sql`update clerk_users set first_name = 'Eve' where id = ${first.id}`;
  const different = await runCommand(folder.path, ["drift", "--rate", "1000", "--table", "users"], env);
  expect(different).toMatchObject({ exitCode: 1 });
  expect(different.stdout).toContain(`clerk_users  different  ${first.id}  first_name: "Eve" here, "Ada" in Clerk`);
  expect(different.stdout).toContain("bun drift --fix");
  expect(await runCommand(folder.path, ["drift", "--rate", "1000", "--fix"], env)).toMatchObject({ exitCode: 0 });
  const [row] = await sql`select first_name from clerk_users where id = ${first.id}`;
  expect(row.first_name).toBe("Ada");
});

test("refuses the key of another instance before it reads or changes anything", async () => {
  await using folder = await temporaryFolder();
  await using api = await startClerkApi();
  api.fill(3);
  const env = settings(api);
  const own = api.instanceId;
  await runCommand(folder.path, ["new", "mirror"]);
  expect(await runCommand(folder.path, ["backfill"], env)).toMatchObject({ exitCode: 0 });
  api.instanceId = "ins_another";
  api.users.clear();
  api.requests.length = 0;
  for (const args of [["drift"], ["drift", "--fix"], ["drift", "--fix", "--yes"], ["backfill"]]) {
    const refused = await runCommand(folder.path, args, env);
    expect(refused.exitCode, args.join(" ")).toBe(1);
    expect(refused.stderr).toContain(`CLERK_SECRET_KEY belongs to the instance ins_another (development)`);
    expect(refused.stderr).toContain(own);
    expect(refused.stderr).not.toMatch(/\n +at /);
  }
  expect(api.requests.filter(({ path }) => path !== "/v1/instance")).toEqual([]);
  await using sql = new SQL(`sqlite://${join(folder.path, "data/app.db")}`);
  expect((await sql`select count(*) as n from clerk_users where deleted_at is null`)[0].n).toBe(3);
  // A webhook of the new instance has been received, so the mirror belongs to both instances.
  await sql`insert into bellhop_mirror_instances (id) values ('ins_another')`;
  expect((await runCommand(folder.path, ["drift"], env)).stdout).toContain("clerk_users  0 in Clerk, 3 different");
});

test("bun new mirror creates a second file when a handler of all events exists", async () => {
  await using folder = await temporaryFolder();
  await Bun.write(join(folder.path, "handlers/[...event].ts"), "export default () => {};");
  expect((await runCommand(folder.path, ["new", "mirror"])).stdout).toContain("[...event]/mirror.ts");
  expect((await runCommand(folder.path, ["new", "mirror"])).stderr).toMatch(
    /already: .*handlers\/\[\.\.\.event\]\/mirror\.ts/,
  );
});

test("bun new mirror --tables writes the tables that are named, or all, and backfills them", async () => {
  await using folder = await temporaryFolder();
  await using api = await startClerkApi();
  api.add("roles");
  api.add("permissions");
  const unknown = await runCommand(folder.path, ["new", "mirror", "--tables", "users,role"]);
  expect(unknown.stderr).toContain('The mirror has no table "role"; did you mean roles?');
  const written = await runCommand(folder.path, ["new", "mirror", "--tables", "roles, clerk_permissions"]);
  expect(written.stdout).toContain("clerk_roles, clerk_permissions in your database");
  const file = Bun.file(join(folder.path, "handlers/[...event].ts"));
  expect(await file.text()).toContain('mirror({ tables: ["roles", "permissions"] })');
  const filled = await runCommand(folder.path, ["backfill", "--rate", "1000"], settings(api));
  expect(filled).toMatchObject({ exitCode: 0 });
  expect(filled.stdout).toContain("clerk_roles  1 from Clerk\nclerk_permissions  1 from Clerk");
  const again = await runCommand(folder.path, ["new", "mirror", "--tables", "sessions"]);
  expect(again.stderr).toContain('tables: ["roles", "permissions", "sessions"]');
  await file.delete();
  expect((await runCommand(folder.path, ["new", "mirror", "--tables", "all"])).exitCode).toBe(0);
  const text = await file.text();
  for (const { name } of tables) expect(text).toContain(`"${name}"`);
});

test("bun backfill reports an unreachable API as such, not as a rate limit", async () => {
  await using folder = await temporaryFolder();
  await runCommand(folder.path, ["new", "mirror"]);
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "backfill"], {
    cwd: folder.path,
    env: {
      PATH: process.env["PATH"],
      HOME: folder.path,
      CLERK_SECRET_KEY: "sk_test_x",
      CLERK_API_URL: `http://127.0.0.1:${await freePort()}`,
    },
    stderr: "pipe",
  });
  const { value } = await child.stderr.getReader().read();
  child.kill();
  expect(new TextDecoder().decode(value)).toStartWith("Clerk's API can't be reached: retrying in 500 ms");
});

test("Ctrl-C stops a backfill between two pages, and the same command continues from there", async () => {
  await using folder = await temporaryFolder();
  await using api = await startClerkApi();
  api.fill(2_600);
  await runCommand(folder.path, ["new", "mirror"]);
  const main = join(import.meta.dir, "../../src/main.ts");
  const { promise: thirdPage, resolve } = Promise.withResolvers<void>();
  let pages = 0;
  api.before = ({ path }) => void (path === "/v1/users" && (pages += 1) === 3 && resolve());
  const child = Bun.spawn([process.execPath, main, "backfill", "--rate", "20"], {
    cwd: folder.path,
    env: { PATH: process.env["PATH"], HOME: folder.path, ...settings(api) },
    stdout: "pipe",
    stderr: "pipe",
  });
  await thirdPage;
  child.kill("SIGINT");
  expect(await child.exited).toBe(1);
  expect(await new Response(child.stderr).text()).toContain("run the same command to continue");
  api.requests.length = 0;
  expect(await runCommand(folder.path, ["backfill", "--rate", "1000"], settings(api))).toMatchObject({ exitCode: 0 });
  const [again] = api.requests.filter(({ path }) => path === "/v1/users");
  expect(Number(again?.query.get("offset"))).toBeGreaterThan(400);
  await using sql = new SQL(`sqlite://${join(folder.path, "data/app.db")}`);
  expect((await sql`select count(*) as n from clerk_users`)[0].n).toBe(2_600);
});
