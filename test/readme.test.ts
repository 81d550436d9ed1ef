import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

import { messageId } from "../src/clerk/message-id.ts";
import { sample } from "../src/clerk/samples.ts";
import { commands } from "../src/cli/cli.ts";
import { readConfig } from "../src/config.ts";
import { refusals } from "../src/errors.ts";
import { settings } from "../src/settings.ts";
import { startClerkApi } from "./clerk-api.ts";
import { SECRET, serverWith } from "./harness.ts";

const ROOT = resolve(import.meta.dir, "..");
const readme = await Bun.file(join(ROOT, "README.md")).text();
const contributing = await Bun.file(join(ROOT, "CONTRIBUTING.md")).text();
const envExample = await Bun.file(join(ROOT, ".env.example")).text();
const orm = await Bun.file(join(ROOT, "docs/orm.md")).text();
const mirror = await Bun.file(join(ROOT, "docs/mirror.md")).text();
const blocks = (text: string, language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, code = ""]) => code);

/** The code blocks by the file name in their first line. */
const named = (codes: string[]) =>
  Object.fromEntries(codes.map((code) => [/^(?:\/\/|--) handlers\/(\S+)/.exec(code)?.[1] ?? "", code]));

test("the README's first example is the repository's handler and works with its table", async () => {
  const [example = ""] = blocks(readme, "ts");
  const [, ...code] = example.split("\n");
  expect(code.join("\n")).toBe(await Bun.file(join(ROOT, "handlers/user.created.ts")).text());
  const [schema = ""] = blocks(readme, "sql");
  await using server = await serverWith({ "user.created.ts": example, "_schema.sql": schema });
  const id = messageId(Date.now());
  await server.post(sample("user.created", { overrides: { data: { id: "user_1", first_name: "Ada" } } }), { id });
  const log = [{ level: "info", message: "a profile for Ada" }];
  expect((await server.ended(id)).runs).toMatchObject([{ state: "done", attempts: [{ log }] }]);
  using app = new Database(join(server.dataDir, "app.db"), { readonly: true });
  expect(app.query("select user_id, name from profiles").values()).toEqual([["user_1", "Ada"]]);
});

test("the README's mirror and its handler with ensureUser work", async () => {
  await using api = await startClerkApi();
  const { id: user } = api.addUser();
  const files = named(blocks(readme, "ts").filter((code) => code.includes("bellhop/mirror")));
  expect(Object.keys(files)).toEqual(["[...event].ts", "organizationMembership.created.ts"]);
  await using server = await serverWith(files, { CLERK_SECRET_KEY: api.secretKey, CLERK_API_URL: api.url });
  await server.post(sample("user.created", { overrides: { data: { id: "user_1" } } }), { id: "msg_1" });
  const joins = sample("organizationMembership.created", {
    overrides: { data: { public_user_data: { user_id: user } } },
  });
  await server.post(joins, { id: "msg_2" });
  const states = async (id: string) => (await server.ended(id)).runs.map(({ handler, state }) => `${handler} ${state}`);
  expect(await states("msg_1")).toEqual(["[...event] done"]);
  expect(await states("msg_2")).toEqual(["[...event] done", "organizationMembership.created done"]);
  using app = new Database(join(server.dataDir, "app.db"), { readonly: true });
  expect(app.query("select id from clerk_users order by id").values()).toEqual(
    ["user_1", user].toSorted().map((id) => [id]),
  );
});

test("the handlers with Drizzle and Kysely in docs/orm.md work with their tables", async () => {
  const files = named([...blocks(orm, "sql"), ...blocks(orm, "ts")]);
  expect(Object.keys(files)).toEqual([
    "_migrations/0001_accounts.sql",
    "user.created/account.ts",
    "session.created/login.ts",
  ]);
  // Inside the checkout, where imports of packages are resolved.
  const folder = await mkdtemp(join(ROOT, "test", "readme-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true }));
  await using server = await serverWith(files, {}, folder);
  await server.post(sample("user.created", { overrides: { data: { id: "user_1" } } }), { id: "msg_1" });
  const log = [{ level: "info", message: "the plan is free, the theme dark" }];
  expect((await server.ended("msg_1")).runs).toMatchObject([{ state: "done", attempts: [{ log }] }]);
  await server.post(sample("session.created", { overrides: { data: { user_id: "user_1" } } }), { id: "msg_2" });
  expect((await server.ended("msg_2")).runs).toMatchObject([{ state: "done" }]);
  using app = new Database(join(server.dataDir, "app.db"), { readonly: true });
  expect(app.query("select * from accounts").values()).toEqual([["user_1", "free", '{"theme":"dark"}']]);
  expect(app.query("select user_id from logins").values()).toEqual([["user_1"]]);
});

test("the README's handler that sends an e-mail works and sends its idempotency key", async () => {
  const sent: { key: string | null; body: unknown }[] = [];
  using mailer = Bun.serve({
    port: 0,
    async fetch(request) {
      sent.push({ key: request.headers.get("idempotency-key"), body: await request.json() });
      return new Response();
    },
  });
  const example =
    blocks(readme, "ts")
      .find((code) => code.includes("idempotency-key"))
      ?.replace("https://api.example.com/welcome", mailer.url.href) ?? "";
  await using server = await serverWith({ "user.created/mail.ts": example });
  const id = messageId(Date.now());
  const email = { id: "idn_1", email_address: "ada@example.com" };
  const data = { first_name: "Ada", primary_email_address_id: "idn_1", email_addresses: [email as never] };
  await server.post(sample("user.created", { overrides: { data } }), { id });
  expect((await server.ended(id)).runs).toMatchObject([{ handler: "user.created/mail", state: "done" }]);
  expect(sent).toEqual([{ key: `${id}/user.created/mail`, body: { to: "ada@example.com", name: "Ada" } }]);
});

test("every TypeScript block of the README, docs/orm.md and docs/mirror.md is type-checked", async () => {
  const folder = await mkdtemp(join(ROOT, "test", "readme-"));
  try {
    const found = blocks(readme + orm + mirror, "ts");
    expect(found.length).toBeGreaterThan(0);
    await Promise.all(found.map((code, index) => Bun.write(join(folder, `block-${index}.ts`), code)));
    const check = Bun.spawnSync([process.execPath, "check", folder], { cwd: ROOT });
    expect(check.stdout.toString()).toBe("");
    expect(check.exitCode).toBe(0);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 60_000);

test("the README's table of refusals matches errors.ts", () => {
  const rows = [...readme.matchAll(/^\| `(\w+)` +\| (\d{3}) +\|/gm)].map(([, code, status]) => [code, Number(status)]);
  expect(rows).toEqual(Object.entries(refusals).map(([code, { status }]) => [code, status]));
});

test("every command is in the README and has a script", async () => {
  const { scripts } = (await Bun.file(join(ROOT, "package.json")).json()) as { scripts: Record<string, string> };
  // Adds Bellhop to another project, so a clone has no script for it.
  expect(readme).toContain("`bunx bellhop init`");
  const names = Object.keys(commands).filter((name) => name !== "init");
  for (const name of names) {
    expect(readme).toContain(`\`bun ${name}`);
    // Bun reads `.env.production` only with this NODE_ENV.
    expect(scripts[name]).toBe(`${name === "start" ? "NODE_ENV=production " : ""}bun src/main.ts ${name}`);
  }
  const called = Object.values(scripts).flatMap(
    (script) => /^(?:NODE_ENV=production )?bun src\/main\.ts (\w+)$/.exec(script)?.[1] ?? [],
  );
  expect(called.toSorted()).toEqual(names.toSorted());
});

test("the sections Run it and Test it begin with a block of one command", () => {
  for (const heading of ["Run it", "Test it"]) {
    const [block = ""] = readme.split(`\n## ${heading}\n`)[1]?.match(/^\s*```sh\n([\s\S]*?)```/) ?? [];
    expect(block.trim().split("\n")).toHaveLength(3);
  }
});

test("every path in CONTRIBUTING exists", () => {
  for (const [, path = ""] of contributing.matchAll(/`((?:src|test)\/[\w./-]+)`/g))
    expect(existsSync(join(ROOT, path)), path).toBe(true);
});

test(".env.example and the README's table list the settings in the same order", async () => {
  const names = settings.map(({ name }) => name);
  expect([...envExample.matchAll(/^#? ?([A-Z_]+)=/gm)].map(([, name]) => name)).toEqual(names);
  expect([...readme.matchAll(/^\| `([A-Z_]+)` +\|/gm)].map(([, name]) => name)).toEqual(names);
});

test("the README and .env.example show the actual defaults", async () => {
  const rows = new Map(
    [...readme.matchAll(/^\| `([A-Z_]+)` +\| (.*?) +\|/gm)].map(([, name = "", text]) => [name, text]),
  );
  for (const { name, default: text } of settings) expect(rows.get(name)).toBe(text);
  const shown = Object.fromEntries(
    [...envExample.matchAll(/^# ([A-Z_]+)=(\S+)$/gm)].map(([, name, text]) => [name, text]),
  );
  expect(Object.keys(shown)).toHaveLength(settings.length - 1);
  const env = { CLERK_WEBHOOK_SIGNING_SECRET: SECRET };
  // These have no default.
  const unset = {
    CLERK_SECRET_KEY: undefined,
    INBOX_URL: undefined,
    INSPECTOR_TOKEN: undefined,
    METRICS_PORT: undefined,
    HEARTBEAT_URL: undefined,
    ALERT_URLS: undefined,
    ALERT_SECRET: undefined,
  };
  const read = readConfig({ ...env, ...shown, ...unset }, "dev");
  expect(read).toEqual(readConfig(env, "dev"));
  expect(read).toHaveProperty("config");
});
