// `bun send` and `bun replay` with a running server: the address they use and the handlers they run.

import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";

import { freePort, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { devWith } from "./dev-server.ts";

// Each test starts processes.
setDefaultTimeout(30_000);

const HELLO = `import { on } from "bellhop"; export default on("user.created", ({ data, log }) => log.info("hello " + data.first_name));`;
const LOGS_DATA = `export default ({ data, log }) => log.info(JSON.stringify(data));`;

test("bun send asks the running server for its address, whatever the value of PORT", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO });
  const sent = await runCommand(dev.path, ["send", "user.created"], { PORT: String(await freePort()) });
  expect(sent).toMatchObject({ exitCode: 0, stderr: "" });
  expect(sent.stdout).toContain("✓ user.created done");
});

test("requests to this machine do not go through HTTP_PROXY", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO });
  let proxied = 0;
  using proxy = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(String((proxied += 1))) });
  const env = { HTTP_PROXY: proxy.url.href, http_proxy: proxy.url.href, PORT: new URL(dev.server.url).port };
  for (const args of [[], ["--url", dev.server.url], ["--url", dev.server.url.replace("127.0.0.1", "localhost")]]) {
    const sent = await runCommand(dev.path, ["send", "user.created", ...args], env);
    expect(sent.stdout, args.join(" ")).toContain('"status":"accepted"');
  }
  expect((await runCommand(dev.path, ["deliveries"], env)).stdout.split("\n")).toHaveLength(4);
  expect(proxied).toBe(0);
  // Another machine may be reachable through the proxy only.
  const elsewhere = await runCommand(dev.path, ["send", "user.created", "--url", "http://hooks.invalid/x"], env);
  expect(elsewhere.stdout).toBe("200 1\n");
});

test("--data is merged deeply into a sample and into a file, which may begin with a byte order mark", async () => {
  await using dev = await devWith({ "user.created.ts": LOGS_DATA });
  const file = join(dev.path, "event.json");
  const data = { id: "user_1", public_metadata: { plan: "gold", seats: 3 }, tags: [1, 2] };
  await Bun.write(file, `\uFEFF${JSON.stringify({ type: "user.created", object: "event", data })}`);
  const override = ["--data", '{"public_metadata":{"plan":"free"},"tags":[]}'];
  const fromFile = await dev.bellhop("send", "--file", file, ...override);
  expect(fromFile.stdout).toContain('"public_metadata":{"plan":"free","seats":3},"tags":[]');
  const sampled = await dev.bellhop(
    "send",
    "organizationMembership.created",
    "--data",
    '{"organization":{"name":"Acme"}}',
  );
  expect(sampled.exitCode).toBe(0);
  const { deliveries } = JSON.parse((await dev.bellhop("deliveries", "--json", "--limit", "1")).stdout);
  const shown = JSON.parse((await dev.bellhop("deliveries", deliveries[0].id, "--payload", "--json")).stdout);
  expect(JSON.parse(shown.payload).data.organization).toMatchObject({
    name: "Acme",
    id: expect.stringMatching(/^org_/),
  });
});

test("bun send warns of a field that Clerk does not send, with the nearest one, and sends it", async () => {
  await using dev = await devWith({ "user.created.ts": LOGS_DATA });
  const sent = await dev.bellhop("send", "user.created", "--data", '{"first_nme":"x","scim":null,"last_name":"y"}');
  expect(sent).toMatchObject({
    exitCode: 0,
    stderr: "user.created has no field first_nme, which is sent nevertheless; did you mean first_name?\n",
  });
  expect(sent.stdout).toContain('"first_nme":"x"');
});

test("a package that is not installed is an error and is not fetched from a registry", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": 'import x from "a-package-that-is-missing"; export default () => x;',
  });
  let requests = 0;
  using registry = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => new Response(String((requests += 1)), { status: 404 }),
  });
  const env = { BUN_CONFIG_REGISTRY: registry.url.href };
  // `bun dev` in a checkout reads bunfig.toml; the package's bin passes --no-install.
  const root = join(import.meta.dir, "../..");
  await copyFile(join(root, "bunfig.toml"), join(folder.path, "bunfig.toml"));
  const { stdout } = await runCommand(folder.path, ["handlers"], env);
  expect(stdout).toContain("Cannot find package 'a-package-that-is-missing'");
  expect(await Bun.file(join(root, "src/main.ts")).text()).toStartWith("#!/usr/bin/env -S bun --no-install\n");
  expect(requests).toBe(0);
});

test("bun send of many does not wait for the runs of a paused handler, and names it", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO });
  await dev.bellhop("pause", "user.created", "--reason", "the CRM migrates");
  const sent = await dev.bellhop("send", "user.created", "--count", "40");
  expect(sent.stdout).toContain("0 of 40 runs done");
  expect(sent.stdout).toContain(
    "user.created is paused by a person (the CRM migrates), and its runs wait. To continue: bun resume user.created",
  );
  const one = await dev.bellhop("send", "user.created");
  expect(one.stdout).toMatch(/… user\.created waits\n +user\.created is paused .* bun resume user\.created/);
  expect(one.stdout).not.toContain("what runs first");
});

test("after a dead run, the suggested command and the replay run only the handler that failed", async () => {
  const dies = `import { NonRetriableError } from "bellhop";
export default ({ log }) => { log.info("trying"); throw new NonRetriableError("no room"); };`;
  await using dev = await devWith({
    "user.created.ts": HELLO,
    "user.created/crm.ts": dies,
    "[...event].ts": dies,
    "email.created.ts": dies,
  });
  await dev.bellhop("send", "user.created", "--id", "msg_1");
  await dev.server.ended("msg_1");
  const output = await until(
    "both log lines",
    () => /(bun replay[^]*){2}/.test(dev.server.output()) && dev.server.output(),
  );
  expect(output).toContain("bun replay msg_1 --handler user.created/crm");
  expect(output).toContain("bun replay msg_1 --handler '[...event]'");

  const replayed = await dev.bellhop("replay", "msg_1");
  expect(replayed.stdout).toMatch(/^Replaying msg_1 in .*, which died; in every handler: --all$/m);
  expect(replayed.stdout).not.toContain("user.created done");
  const count = async (handler: string) =>
    (await dev.server.get("msg_1"))?.runs.filter((run) => run.handler === handler).length;
  expect([await count("user.created"), await count("user.created/crm"), await count("[...event]")]).toEqual([1, 2, 2]);
  expect((await dev.bellhop("replay", "msg_1", "--all")).stdout).toContain("✓ user.created done");
  expect(await count("user.created")).toBe(2);
  expect((await dev.bellhop("replay", "--dead", "--all")).stderr).toContain("--all needs one delivery");

  // The payload with the one-time code is wiped, so the delivery can't be replayed.
  await dev.bellhop("send", "email.created", "--id", "msg_2");
  await dev.server.ended("msg_2");
  await until("the log line", () => /email\.created is dead.*can't be replayed/.test(dev.server.output()) || undefined);
  expect(dev.server.output()).not.toContain("bun replay msg_2");
  const again = await dev.bellhop("send", "email.created", "--id", "msg_2");
  expect(again.stdout).toContain('"status":"duplicate"');
  expect(again.stdout).not.toContain("bun replay");
});

test("bun replay reports without a stack that the server stopped", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": "export default ({ run }) => Bun.sleep(run.replay ? 10_000 : 0);",
  });
  await using server = await spawnServer(folder.path);
  await runCommand(folder.path, ["send", "user.created", "--id", "msg_1"]);
  await server.ended("msg_1");
  const replaying = runCommand(folder.path, ["replay", "msg_1"]);
  await until("the replay", async () => ((await server.get("msg_1"))?.runs.length === 2 ? true : undefined));
  await Bun.sleep(100);
  server.process.kill("SIGKILL");
  const { stderr, exitCode } = await replaying;
  expect(stderr).toContain("It runs the replays it has stored");
  expect(stderr).not.toMatch(/\n +at /);
  expect(exitCode).toBe(1);
});
