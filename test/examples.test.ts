// The code of the documentation works: every TypeScript block is type-checked, every handler of a page runs on a sample
// of its event, and every test of a page passes.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";

import { eventNames } from "../src/clerk/events.ts";
import { matchesPattern } from "../src/clerk/pattern.ts";
import { sample } from "../src/clerk/samples.ts";
import { readName } from "../src/handlers/names.ts";
import { startClerkApi } from "./clerk-api.ts";
import { type Files, serverWith, type TestServer, until } from "./harness.ts";
import { blocks, fileOf, handlerFolders, page, pages, ROOT } from "./pages.ts";

// Clerk's API knows this user.
const USER = "user_of_the_docs";
const NAMED = { first_name: "Ada" };
// AGENTS.md has tests of its own: test/agents.test.ts.
const shown = pages.filter((source) => source.file !== "AGENTS.md" && handlerFolders(source).length > 0);

/** A request of a handler, which a stand-in for other services has received. */
interface Request {
  url: string;
  key: string | null;
  body: unknown;
}

interface Ran {
  server: TestServer;
  requests: Request[];
  query: (sql: string) => unknown[][];
}

/** Further checks of a page, after the handlers of its last version have run. */
const checks: Record<string, (ran: Ran) => Promise<void> | void> = {
  async "README.md"({ query }) {
    expect(query("select name from profiles")).toEqual([["Ada"]]);
    const [, ...code] = blocks(page("README.md"), "ts")[0]!.split("\n");
    expect(code.join("\n")).toBe(await Bun.file(join(ROOT, "handlers/user.created.ts")).text());
  },
  "docs/orm.md"({ query }) {
    expect(query("select plan, settings from accounts")).toEqual([["free", '{"theme":"dark"}']]);
    expect(query("select count(*) from logins")).toEqual([[1]]);
  },
  "docs/database.md"({ query }) {
    expect(query("select plan, type from teams join team_events on team_id = id")).toEqual([["free", "created"]]);
  },
  "docs/mirror.md"({ query }) {
    expect(query("select id from clerk_users")).toContainEqual([USER]);
  },
  async "docs/handlers.md"({ server, requests }) {
    const email = { id: "idn_1", email_address: "ada@example.com" };
    const data = { first_name: "Ada", primary_email_address_id: "idn_1", email_addresses: [email as never] };
    await server.post(sample("user.created", { overrides: { data } }), { id: "msg_mail" });
    await server.ended("msg_mail");
    expect(requests).toContainEqual({
      url: "/welcome",
      key: "msg_mail/user.created/mail",
      body: { to: "ada@example.com", name: "Ada" },
    });
    await server.post(sample("user.created", { overrides: { data: { id: "user_refused" } } }), { id: "msg_dead" });
    const { runs } = await server.ended("msg_dead");
    expect(runs.find(({ handler }) => handler === "user.created/crm")).toMatchObject({ state: "dead" });
    const text = "user.created/crm gave up on msg_dead: the CRM refuses user_refused";
    await until("the call of _dead.ts", () =>
      requests.some(({ body }) => (body as { text?: string } | undefined)?.text === text),
    );
  },
};

for (const source of shown)
  test(`the handlers of ${source.file} run`, async () => {
    const folders = handlerFolders(source);
    for (const files of folders) await runHandlers(files, files === folders.at(-1) ? checks[source.file] : undefined);
  }, 60_000);

async function runHandlers(files: Files, check?: (ran: Ran) => Promise<void> | void) {
  await using stack = new AsyncDisposableStack();
  const api = stack.use(await startClerkApi());
  api.addUser({ id: USER });
  const requests: Request[] = [];
  const others = stack.use(
    Bun.serve({
      port: 0,
      async fetch(request) {
        const url = new URL(request.url).pathname;
        const key = request.headers.get("idempotency-key");
        requests.push({ url, key, body: await request.json().catch(() => undefined) });
        return new Response(null, { status: url.endsWith("user_refused") ? 422 : 200 });
      },
    }),
  );
  const local = (code: string) =>
    code.replaceAll(/https:\/\/(?:api\.example\.com|hooks\.slack\.com)\//g, others.url.href);
  const code = Object.entries(files).flatMap(([name, text]) =>
    name.endsWith(".test.ts") ? [] : [[name, local(text)]],
  );
  // Inside the checkout, where imports of packages are resolved.
  const folder = await mkdtemp(join(ROOT, "test", "examples-"));
  stack.defer(() => rm(folder, { recursive: true }));
  const env = { CLERK_SECRET_KEY: api.secretKey, CLERK_API_URL: api.url };
  const server = stack.use(await serverWith(Object.fromEntries(code), env, folder));

  const patterns = Object.keys(files).flatMap((name) => {
    const read = readName(name);
    return "event" in read ? [read.event] : [];
  });
  const types = patterns.map((pattern) => eventNames.find((type) => matchesPattern(pattern, type))!);
  for (const [index, type] of [...new Set(types)].entries()) {
    const id = `msg_${index}`;
    const data = type === "organizationMembership.created" ? { public_user_data: { user_id: USER } } : NAMED;
    const answer = await server.post(sample(type, { overrides: { data: data as never } }), { id });
    expect(answer.status).toBe(200);
    const { runs } = await server.ended(id);
    for (const { handler, state, attempts } of runs)
      expect({ handler, state, error: attempts[0]?.error }).toEqual({ handler, state: "done", error: undefined });
    expect(runs).not.toBeEmpty();
  }
  using app = new Database(join(server.dataDir, "app.db"));
  await check?.({ server, requests, query: (sql) => app.query(sql).values() });
}

test("every TypeScript block is type-checked, and every test of a page passes", async () => {
  const folder = await mkdtemp(join(ROOT, "test", "examples-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true }));
  const tested: string[] = [];
  for (const source of pages) {
    const base = join(folder, source.file.replaceAll("/", "-"));
    // A block that names another file belongs to another project, with packages that are not installed here.
    const alone = blocks(source, "ts").filter((code) => fileOf(code) === undefined);
    for (const [index, code] of alone.entries()) await Bun.write(join(base, `block-${index}.ts`), code);
    for (const [index, files] of handlerFolders(source).entries()) {
      const project = join(base, String(index));
      const hasTests = Object.keys(files).some((name) => name.endsWith(".test.ts"));
      // Tests of pages are about the README's handler, unless the page has its own.
      const [example = {}] = hasTests ? handlerFolders(page("README.md")) : [];
      for (const [name, code] of Object.entries({ ...example, ...files }))
        await Bun.write(join(project, "handlers", name), code);
      if (hasTests) tested.push(project);
    }
  }
  const check = Bun.spawnSync([process.execPath, "check", folder], { cwd: ROOT });
  expect(check.stdout.toString()).toBe("");
  expect(check.exitCode).toBe(0);
  expect(tested.length).toBeGreaterThan(0);
  for (const project of tested) {
    const { stderr, exitCode } = Bun.spawnSync([process.execPath, "test"], { cwd: project });
    expect(stderr.toString()).toContain(" 0 fail\n");
    expect(exitCode).toBe(0);
  }
}, 60_000);
