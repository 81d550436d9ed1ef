import { expect, test } from "bun:test";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import type { Environment } from "../../src/config.ts";
import { configOf } from "../../src/mount/bellhop-options.ts";
import { type Bellhop, type BellhopOptions, createBellhop } from "../../src/mount/entry.ts";
import { folderWithHandlers, SECRET, signed, until, writeHandlers } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";

const URL = "https://shop.example.com/api/webhooks";
const HANDLER = `export default ({ data, db }) => db\`insert into seen (id) values (\${data.id})\`;`;

/** Options for a Bellhop in `folder`. */
function optionsFor(folder: string, more: BellhopOptions = {}): BellhopOptions {
  return {
    clerkWebhookSigningSecret: SECRET,
    handlersDir: join(folder, "handlers"),
    dataDir: join(folder, "data"),
    logLevel: "silent",
    dev: false,
    ...more,
  };
}

function delivery({ id = messageId(Date.now()), url = URL, user = "user_1" } = {}) {
  const body = JSON.stringify(sample("user.created", { overrides: { data: { id: user } } }));
  return new Request(url, { method: "POST", body, headers: signed(body, { id }) });
}

const health = async (bellhop: Bellhop) =>
  (await (await bellhop.fetch(new Request("https://shop.example.com/health"))).json()) as {
    status: string;
    reason?: string;
  };

const rejection = async (options: BellhopOptions) =>
  ((await createBellhop(options).catch((error) => error)) as Error).message;

test("answers deliveries and runs handlers without a port, a signal listener or an exit", async () => {
  await using folder = await folderWithHandlers();
  await writeHandlers(folder.path, {
    "_schema.sql": "create table if not exists seen (id text primary key);",
    "user.created.ts": HANDLER,
  });
  const listeners = () => ["SIGINT", "SIGTERM", "SIGHUP"].map((signal) => process.listenerCount(signal));
  const before = listeners();
  const bellhop = await createBellhop(optionsFor(folder.path));
  const first = delivery({ id: "msg_1" });
  expect(await (await bellhop.fetch(first)).json()).toEqual({ id: "msg_1", status: "accepted" });
  expect(await (await bellhop.fetch(delivery({ id: "msg_1" }))).json()).toMatchObject({ status: "duplicate" });
  expect(await health(bellhop)).toEqual({ status: "ok" });
  expect((await bellhop.fetch(new Request("https://shop.example.com/"))).status).toBe(404);
  expect((await bellhop.fetch(delivery({ url: "https://shop.example.com/webhooks" }))).status).toBe(404);
  expect(listeners()).toEqual(before);
  expect(bellhop.inspectorUrl).toBeUndefined();
  await bellhop.stop();
  await bellhop.stop();
  expect((await bellhop.fetch(delivery())).status).toBe(503);
  expect(listeners()).toEqual(before);
  const { Database } = await import("bun:sqlite");
  using app = new Database(join(folder.path, "data", "app.db"), { readonly: true });
  expect(app.query("select id from seen").values()).toEqual([["user_1"]]);
});

test("a second call returns the Bellhop that is open, and one with other options is refused", async () => {
  await using folder = await folderWithHandlers();
  const options = optionsFor(folder.path);
  const [first, second] = await Promise.all([createBellhop(options), createBellhop({ ...options })]);
  await using bellhop = first;
  expect(second).toBe(bellhop);
  // As `bun --hot` loads the module again.
  const again: string = "../../src/mount/create-bellhop.ts?reloaded";
  const reloaded: { createBellhop: typeof createBellhop } = await import(again);
  expect(reloaded.createBellhop).not.toBe(createBellhop);
  expect(await reloaded.createBellhop(options)).toBe(bellhop);
  expect(await rejection({ ...options, concurrency: 2 })).toContain("A Bellhop with other options is open on");
  // The next one waits until it has stopped.
  void bellhop.stop();
  await using third = await createBellhop({ ...options, concurrency: 2 });
  expect(third).not.toBe(bellhop);
  expect(await health(third)).toEqual({ status: "ok" });
});

test("a handler may import a module that calls createBellhop, and gets the one that is open", async () => {
  await using folder = await folderWithHandlers();
  await writeHandlers(folder.path, {
    "user.created.ts": `import { createBellhop } from "bellhop";
      export default async ({ log }) => log.info(typeof createBellhop);`,
  });
  await using bellhop = await createBellhop(optionsFor(folder.path));
  expect((await bellhop.fetch(delivery())).status).toBe(200);
  // A module of the application that is loaded later.
  const { createBellhop: shared } = await import("bellhop");
  expect(await shared(optionsFor(folder.path))).toBe(bellhop);
});

test("wrong options are reported together, and a failed call can be repeated", async () => {
  await using folder = await folderWithHandlers();
  const options = optionsFor(folder.path);
  const wrong = await rejection({ ...options, concurrency: "many", webhookPath: "hooks" });
  expect(wrong).toContain('CONCURRENCY is "many"');
  expect(wrong).toContain('WEBHOOK_PATH is "hooks"');
  expect(await rejection({ ...options, datadir: "x" } as BellhopOptions)).toBe(
    "createBellhop has no option datadir; did you mean dataDir?",
  );
  expect(await rejection({ ...options, inspector: true })).toContain("INSPECTOR_TOKEN is not set");
  expect(await rejection({ ...options, handlersDir: join(folder.path, "none") })).toContain("does not exist");
  const missing = await rejection({ ...options, dev: true, clerkWebhookSigningSecret: "" });
  expect(missing).toContain("CLERK_WEBHOOK_SIGNING_SECRET is not set");
  expect(missing).toContain("To make a secret for development: bunx bellhop init");
  await using bellhop = await createBellhop(options);
  expect(await health(bellhop)).toEqual({ status: "ok" });
});

test("only an application that sets BLOCKED_SECONDS is ended when its thread is blocked", () => {
  const blockedSeconds = (options: BellhopOptions, environment: Environment = {}) =>
    configOf({ clerkWebhookSigningSecret: SECRET, dev: false, ...options }, environment).blockedSeconds;
  expect(blockedSeconds({})).toBe(0);
  expect(blockedSeconds({}, { BLOCKED_SECONDS: " " })).toBe(0);
  expect(blockedSeconds({}, { BLOCKED_SECONDS: "60" })).toBe(60);
  expect(blockedSeconds({ blockedSeconds: 120 }, { BLOCKED_SECONDS: "60" })).toBe(120);
  expect(blockedSeconds({ blockedSeconds: 120, dev: true })).toBe(0);
});

test("the inspector opens when it is asked for", async () => {
  await using folder = await folderWithHandlers();
  const inspectorToken = "made-by-openssl-rand-hex-24";
  const options = optionsFor(folder.path, { inspector: true, inspectorPort: 0, inspectorToken });
  await using bellhop = await createBellhop(options);
  expect((await fetch(bellhop.inspectorUrl ?? "")).status).toBe(200);
});

test("a request whose body has been read is answered 500, and nothing is stored", async () => {
  await using folder = await folderWithHandlers();
  await using bellhop = await createBellhop(optionsFor(folder.path));
  const request = delivery();
  await request.text();
  expect((await bellhop.fetch(request)).status).toBe(500);
});

test("handlers are reloaded in development", async () => {
  await using folder = await folderWithHandlers();
  await writeHandlers(folder.path, { "_schema.sql": "create table if not exists seen (id text primary key);" });
  await using bellhop = await createBellhop(optionsFor(folder.path, { dev: true, logFormat: "json" }));
  await writeHandlers(folder.path, { "user.created.ts": HANDLER });
  const { Database } = await import("bun:sqlite");
  using app = new Database(join(folder.path, "data", "app.db"), { readonly: true });
  let sent = 0;
  await until("a handler that was added to run", async () => {
    await bellhop.fetch(delivery({ user: `user_${(sent += 1)}` }));
    return app.query("select id from seen").values().length > 0 || undefined;
  });
});

test.skipIf(noPostgres !== undefined)(
  "answers 503 while Postgres is unreachable, and 200 as soon as it is back",
  async () => {
    await using folder = await folderWithHandlers();
    await using postgres = await startPostgres();
    const options = optionsFor(folder.path, { inboxUrl: await postgres.database() });
    await postgres.stop();
    const waiting = await createBellhop(options);
    expect((await waiting.fetch(delivery())).status).toBe(503);
    expect(await health(waiting)).toEqual({
      status: "unavailable",
      reason: "the inbox can't be written: Postgres does not answer",
    });
    // Does not wait for Postgres.
    await waiting.stop();
    await using bellhop = await createBellhop(options);
    expect((await bellhop.fetch(delivery())).status).toBe(503);
    await postgres.start();
    await until("a delivery to be stored", async () => (await bellhop.fetch(delivery())).status === 200 || undefined);
    expect((await health(bellhop)).status).toBe("ok");
  },
  60_000,
);
