// `bun doctor`: each finding has a state, a fact and a remedy; the exit code is 1 when something needs a person.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";

import type { ClerkClient } from "@clerk/backend";

import { checkDisk, checkPackages, checkSettings } from "../../src/cli/check-installation.ts";
import { checkAddress, checkClock, checkEndpoint, checkKey } from "../../src/cli/check-network.ts";
import { checkRefused } from "../../src/cli/check-stores.ts";
import type { Finding } from "../../src/cli/finding.ts";
import { readConfig } from "../../src/config.ts";
import { startClerkApi } from "../clerk-api.ts";
import { post, runCommand, signed, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

setDefaultTimeout(60_000);

const GIGABYTE = 1_073_741_824;
const user = { type: "user.created", object: "event", data: { id: "user_1" }, instance_id: "ins_1" };

async function findingsOf(folder: string, env: Record<string, string>, ...more: string[]) {
  const { exitCode, stdout, stderr } = await runCommand(folder, ["doctor", "--json", ...more], env);
  return { exitCode, stderr, findings: JSON.parse(stdout) as Finding[] };
}
const named = (findings: readonly Finding[], name: string) => findings.filter((finding) => finding.name === name);

test("a healthy server has no problem, and every check has run", async () => {
  await using api = await startClerkApi();
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => 1;" });
  await using server = await spawnServer(folder.path);
  await post(server.url, { ...user, instance_id: api.instanceId }, { id: "msg_1" });
  await server.ended("msg_1");
  const env = { CLERK_SECRET_KEY: api.secretKey, CLERK_API_URL: api.url };
  const { exitCode, findings } = await findingsOf(folder.path, env);
  expect(findings.filter(({ state }) => state === "problem")).toEqual([]);
  expect(exitCode).toBe(0);
  for (const name of ["bun", "packages", "settings", "secret", "clock", "key", "address", "endpoint", "handlers"])
    expect(named(findings, name), name).toHaveLength(1);
  for (const name of ["schema", "database", "inbox", "disk", "refused", "deliveries", "server", "health"])
    expect(named(findings, name), name).toHaveLength(1);
  expect(named(findings, "deliveries")[0]!.fact).toContain("user.created");
  expect(named(findings, "key")[0]!.fact).toContain("which sends the deliveries");
  const printed = await runCommand(folder.path, ["doctor"], env);
  expect(printed.stdout).toContain("✓ handlers");
  expect(printed.stdout).toContain("Nothing needs a person.");
});

test("a server that can't store deliveries is a problem, and nothing is created where its files were", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => 1;" });
  await using server = await spawnServer(folder.path);
  const { port, origin } = new URL(server.url);
  const data = join(folder.path, "data");
  await rename(data, `${data}.away`);
  await until("/health to report it", async () => (await fetch(`${origin}/health`)).status === 503);
  const { exitCode, findings } = await findingsOf(folder.path, { PORT: port });
  expect(exitCode).toBe(1);
  const troubles = named(findings, "health").map(({ state, fact }) => `${state}: ${fact}`);
  expect(troubles[0]).toBe(
    "problem: deliveries get 503: the inbox can't be written: its file was moved, removed or replaced",
  );
  expect(named(findings, "database")).toMatchObject([{ state: "note", fact: expect.stringContaining("there is no") }]);
  expect(existsSync(data)).toBe(false);
  await rename(`${data}.away`, data);
  await until("the inbox to be written again", async () => (await fetch(`${origin}/health`)).status === 200);
});

test("each problem is named with its remedy", async () => {
  await using api = await startClerkApi();
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `import { NonRetriableError } from "bellhop"; export default () => { throw new NonRetriableError("no"); };`,
    "user.updated.ts": "export default",
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, user, { id: "msg_1" });
  await server.ended("msg_1");
  const body = JSON.stringify(user, null, 2);
  await fetch(server.url, { method: "POST", body, headers: signed(JSON.stringify(user), { id: "msg_2" }) });
  await until("the refusal", () => server.output().includes("changed on the way"));
  await runCommand(folder.path, ["pause", "user.created"]);
  const env = { CLERK_SECRET_KEY: api.secretKey, CLERK_API_URL: api.url };
  const { exitCode, findings } = await findingsOf(folder.path, env, "--url", `${new URL(server.url).origin}/elsewhere`);
  expect(exitCode).toBe(1);
  const problems = findings.filter(({ state }) => state === "problem");
  expect(problems.map(({ name }) => name).toSorted()).toEqual([
    "endpoint",
    "handlers",
    "key",
    "paused",
    "problems",
    "refused",
    "runs",
  ]);
  expect(problems.every(({ remedy }) => remedy)).toBe(true);
  expect(named(problems, "refused")[0]!.fact).toContain("a proxy changes the bodies");
  expect(named(problems, "handlers")[0]!.fact).toContain("user.updated.ts");
  expect(named(problems, "key")[0]!.fact).toContain("ins_1");
  expect(named(problems, "runs")[0]!.remedy).toContain("bun replay --dead");
});

test("--fix repairs what it can, after asking, and only that", async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, "handlers"));
  const env = { CLERK_WEBHOOK_SIGNING_SECRET: "" };
  const asked = await runCommand(folder.path, ["doctor", "--fix"], env);
  expect(asked.exitCode).toBe(1);
  expect(await Bun.file(join(folder.path, ".env")).exists()).toBe(false);
  const fixed = await runCommand(folder.path, ["doctor", "--fix", "--yes"], env);
  expect([fixed.exitCode, fixed.stderr]).toEqual([0, expect.stringContaining("fixed: settings")]);
  expect(await Bun.file(join(folder.path, ".env")).text()).toContain("CLERK_WEBHOOK_SIGNING_SECRET=whsec_");
  expect(await Bun.file(join(folder.path, "handlers/user.created.ts")).exists()).toBe(true);
  // Without an inbox, there is nothing to look into.
  const again = await runCommand(folder.path, ["doctor"]);
  expect([again.exitCode, again.stdout]).toEqual([0, expect.stringContaining("there is no inbox")]);
});

test("--fix applies migrations that are not applied", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => 1;" });
  await (await spawnServer(folder.path))[Symbol.asyncDispose]();
  await Bun.write(join(folder.path, "handlers/_migrations/0001_plan.sql"), "create table plans (id text);");
  const before = await findingsOf(folder.path, {});
  expect([before.exitCode, named(before.findings, "schema")[0]!.state]).toEqual([1, "problem"]);
  expect((await findingsOf(folder.path, {}, "--fix", "--yes")).exitCode).toBe(0);
  expect(named((await findingsOf(folder.path, {})).findings, "schema")[0]).toMatchObject({ state: "ok" });
});

test("packages in other versions, or missing, are named", () => {
  const wanted = { elysia: "1.4.30", pino: "10.4.0", citty: "0.2.2" };
  const installed = (name: string) => ({ elysia: "1.4.30", pino: "9.0.0" })[name];
  const finding = checkPackages(wanted, installed);
  expect(finding).toMatchObject({
    state: "problem",
    fact: "pino is 9.0.0 instead of 10.4.0, citty is missing instead of 0.2.2",
  });
  expect(checkPackages()).toMatchObject({ state: "ok" });
});

test("every invalid setting is a finding, and no value is printed", () => {
  const env = { CLERK_WEBHOOK_SIGNING_SECRET: "sk_test_secretsecret", PORT: "http" };
  const findings = checkSettings(readConfig(env, "start"), env);
  expect(findings.map(({ state }) => state)).toEqual(["problem", "problem"]);
  expect(JSON.stringify(findings)).not.toContain("secretsecret");
});

test("a clock that is wrong is measured against the date of a response", async () => {
  using server = Bun.serve({
    port: 0,
    fetch: () => new Response(null, { status: 404, headers: { date: new Date().toUTCString() } }),
  });
  const url = server.url.href;
  expect(await checkClock(url)).toMatchObject({ state: "ok" });
  expect(await checkClock(url, () => Date.now() + 30_000)).toMatchObject({ state: "note" });
  expect(await checkClock(url, () => Date.now() - 600_000)).toMatchObject({
    state: "problem",
    fact: expect.stringContaining("10 min"),
  });
  await server.stop(true);
  expect(await checkClock(url)).toMatchObject({ state: "note", fact: expect.stringContaining("not checked") });
});

test("a key that Clerk refuses needs a person, an API that is down does not", async () => {
  const failing = (status?: number) =>
    ({ instance: { get: () => Promise.reject(Object.assign(new Error("no"), { status })) } }) as unknown as ClerkClient;
  expect(await checkKey(failing(401), undefined)).toMatchObject({ state: "problem" });
  for (const status of [undefined, 500])
    expect(await checkKey(failing(status), "ins_1")).toMatchObject({ state: "note" });
  expect(await checkKey(undefined, "ins_1")).toMatchObject({ state: "note" });
});

test("an endpoint that redirects, or is another server, is a problem", async () => {
  using other = Bun.serve({
    port: 0,
    fetch: ({ url }) => (url.endsWith("/moved") ? Response.redirect("https://example.com/") : new Response("hello")),
  });
  const moved = await checkEndpoint(`${other.url.href}moved`, "the public address");
  expect(moved).toMatchObject({ state: "problem", fact: expect.stringContaining("redirects to https://example.com/") });
  expect(await checkEndpoint(other.url.href, "it")).toMatchObject({ state: "problem" });
  expect(checkAddress(undefined, "/api/webhooks", false)).toMatchObject({ state: "note" });
});

test("a full disk and a container's layer need a person", () => {
  const disk = { freeBytes: 50 * GIGABYTE, totalBytes: 100 * GIGABYTE, fileSystem: "ext4" };
  expect(checkDisk("/data", disk, true)).toMatchObject({ state: "ok" });
  expect(checkDisk("/data", { ...disk, freeBytes: GIGABYTE / 2 }, true)).toMatchObject({ state: "note" });
  expect(checkDisk("/data", { ...disk, freeBytes: 1_000 }, true)).toMatchObject({ state: "problem" });
  expect(checkDisk("/data", { ...disk, fileSystem: "overlay" }, true)).toMatchObject({ state: "problem" });
  expect(checkDisk("/data", { ...disk, fileSystem: "overlay" }, false)).toMatchObject({ state: "ok" });
});

test("a refused probe needs no action, a refused delivery does", () => {
  const refused = (counts: object) => checkRefused({ counts, latest: [], explanations: {} });
  expect(refused({ missing_headers: 900, bad_id: 2 })).toMatchObject([{ state: "ok" }]);
  expect(refused({ no_match: 3, too_new: 1 })).toMatchObject([{ state: "problem" }, { state: "problem" }]);
});
