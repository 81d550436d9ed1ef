// AGENTS.md and docs/llms.txt are what coding agents read first: their examples work, and their lists are complete.

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

import { llmsText } from "../scripts/generate-llms.ts";
import { commands } from "../src/cli/cli.ts";
import { settings } from "../src/settings.ts";

const ROOT = resolve(import.meta.dir, "..");
const agents = await Bun.file(join(ROOT, "AGENTS.md")).text();

/** The code blocks, by the file name in their first line. */
const examples = new Map(
  [...agents.matchAll(/^```(?:ts|sql)\n(?:\/\/|--) (handlers\/\S+)\n([\s\S]*?)^```/gm)].map(
    ([, file = "", code = ""]): [string, string] => [file, code],
  ),
);

test("the handlers, migrations and test of AGENTS.md are type-checked and work together", async () => {
  expect([...examples.keys()]).toEqual([
    "handlers/organization.created.ts",
    "handlers/user.created/mail.ts",
    "handlers/organization.updated/plan.ts",
    "handlers/_migrations/0001_teams.sql",
    "handlers/_migrations/0002_plan.sql",
    "handlers/organization.created.test.ts",
  ]);
  // Inside the checkout, where `bellhop` is resolved.
  const folder = await mkdtemp(join(ROOT, "test", "agents-"));
  try {
    for (const [file, code] of examples) await Bun.write(join(folder, file), code);
    await Bun.write(join(folder, "handlers/more.test.ts"), MORE_TESTS);
    const run = (...args: string[]) => Bun.spawnSync([process.execPath, ...args], { cwd: ROOT });
    const check = run("check", folder);
    expect(check.stdout.toString()).toBe("");
    expect(check.exitCode).toBe(0);
    const tests = run("test", `${folder}/handlers`);
    expect(tests.stderr.toString()).toContain(" 3 pass\n 0 fail\n");
  } finally {
    await rm(folder, { recursive: true });
  }
}, 60_000);

const MORE_TESTS = `import { expect, test } from "bun:test";
import { testBellhop } from "bellhop/test";

test("the plan follows the metadata, and another plan is dead at once", async () => {
  await using bellhop = await testBellhop({ handlers: import.meta.dir });
  const { event } = await bellhop.deliver("organization.created", { name: "Acme" });
  const { id } = event.data;
  await bellhop.deliver("organization.updated", { id, public_metadata: { plan: "pro" } });
  expect([...(await bellhop.db\`select plan from teams\`)]).toEqual([{ plan: "pro" }]);
  const { runs } = await bellhop.deliver("organization.updated", { id, public_metadata: { plan: "gold" } });
  expect(runs["organization.updated/plan"]).toMatchObject({ state: "dead" });
});

test("all attempts of a mail have one idempotency key", async () => {
  const { fetch } = globalThis;
  const keys: (string | null)[] = [];
  globalThis.fetch = ((url: string, init: RequestInit) => {
    if (!url.startsWith("https://api.example.com/")) return fetch(url, init);
    keys.push(new Headers(init.headers).get("idempotency-key"));
    return Promise.resolve(new Response(null, { status: keys.length === 1 ? 503 : 200 }));
  }) as typeof globalThis.fetch;
  try {
    await using bellhop = await testBellhop({ handlers: import.meta.dir });
    const { id } = await bellhop.deliver("user.created");
    await bellhop.advance("7s");
    expect((await bellhop.runs(id))["user.created/mail"]).toMatchObject({ state: "done", attempts: 2 });
    expect(keys).toEqual([keys[0]!, keys[0]!]);
  } finally {
    globalThis.fetch = fetch;
  }
});
`;

test("AGENTS.md names only commands, settings and files that exist", () => {
  const named = [...agents.matchAll(/^bun (\w+)/gm)].map(([, name = ""]) => name);
  const known = [...Object.keys(commands), "install", "test", "check"];
  expect(named.filter((name) => !known.includes(name))).toEqual([]);
  const names = new Set(settings.map(({ name }) => name));
  for (const [, name = ""] of agents.matchAll(/`([A-Z]+_[A-Z_]+)`/g)) expect(names, name).toContain(name);
  for (const [, link = ""] of agents.matchAll(/\]\(([^)#]+)/g)) expect(existsSync(join(ROOT, link)), link).toBe(true);
});

test("docs/llms.txt lists every page; to write it again: bun scripts/generate-llms.ts", async () => {
  expect(await Bun.file(join(ROOT, "docs/llms.txt")).text()).toBe(await llmsText());
});
