import { expect, test } from "bun:test";
import { join } from "node:path";

import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { banner, describeAddress, localUrl } from "../../src/cli/banner.ts";
import { makeToken, readFrame } from "../../src/cli/relay-frames.ts";
import { findTunnel, watchTunnel } from "../../src/cli/tunnel.ts";
import { loadHandlers } from "../../src/handlers/loader.ts";
import { configFor, environment, folderWithHandlers, signed, temporaryFolder, until } from "../harness.ts";
import { startRelay } from "./stand-in-relay.ts";

/** A stand-in for the API of ngrok's agent. */
function agent(tunnels: () => object[]) {
  const server = Bun.serve({ port: 0, fetch: () => Response.json({ tunnels: tunnels(), uri: "/api/tunnels" }) });
  return { api: `${server.url.href}api/tunnels`, [Symbol.asyncDispose]: () => server.stop(true) };
}

const tunnel = (url: string, addr: string) => ({
  name: "command_line",
  public_url: url,
  proto: "https",
  config: { addr },
});

test("finds the HTTPS tunnel to the server's port", async () => {
  await using ngrok = agent(() => [
    tunnel("https://other.ngrok.app", "http://localhost:13000"),
    tunnel("http://bellhop.ngrok.app", "http://localhost:3000"),
    tunnel("https://bellhop.ngrok.app", "http://localhost:3000"),
  ]);
  expect(await findTunnel(3000, ngrok.api)).toBe("https://bellhop.ngrok.app");
  expect(await findTunnel(13000, ngrok.api)).toBe("https://other.ngrok.app");
  expect(await findTunnel(80, ngrok.api)).toBeUndefined();
  expect(await findTunnel(3000, "http://127.0.0.1:1/api/tunnels")).toBeUndefined();
});

test("requests to ngrok's agent do not go through HTTP_PROXY", async () => {
  await using ngrok = agent(() => [tunnel("https://bellhop.ngrok.app", "http://localhost:3000")]);
  const before = process.env["HTTP_PROXY"];
  process.env["HTTP_PROXY"] = "http://127.0.0.1:1";
  try {
    expect(await findTunnel(3000, ngrok.api.replace("localhost", "127.0.0.1"))).toBe("https://bellhop.ngrok.app");
  } finally {
    if (before === undefined) delete process.env["HTTP_PROXY"];
    else process.env["HTTP_PROXY"] = before;
  }
});

test("a public address that appears later or changes is reported once", async () => {
  let tunnels: object[] = [];
  await using ngrok = agent(() => tunnels);
  const addresses: (string | undefined)[] = [];
  const stop = watchTunnel(3000, (url) => addresses.push(url), { api: ngrok.api, everyMs: 10 });
  await until("the first report", () => addresses.length === 1 || undefined);
  tunnels = [tunnel("https://one.ngrok.app", "http://localhost:3000")];
  await until("ngrok to be found", () => addresses.length === 2 || undefined);
  tunnels = [tunnel("https://two.ngrok.app", "http://localhost:3000")];
  await until("the change", () => addresses.length === 3 || undefined);
  await Bun.sleep(50);
  expect(addresses).toEqual([undefined, "https://one.ngrok.app", "https://two.ngrok.app"]);
  stop();
});

test("bun dev prints the public address with the path, or how to get one", async () => {
  await using folder = await temporaryFolder();
  const config = configFor(folder.path, {}, "dev");
  expect(describeAddress(3000, "https://a.ngrok.app/api/webhooks")).toContain("https://a.ngrok.app/api/webhooks\n");
  expect(describeAddress(3000, undefined)).toMatch(/^ {6}bun dev --tunnel .*\n {6}ngrok http 3000 /m);
  const table = await loadHandlers(`${folder.path}/handlers`, () => undefined);
  expect(banner(config, 3000, table)).toContain("bun new user.created");
  expect(localUrl({ host: "0.0.0.0", webhookPath: "/x" }, 1)).toBe("http://127.0.0.1:1/x");
  expect(localUrl({ host: "::1", webhookPath: "/x" }, 1)).toBe("http://[::1]:1/x");
});

test("the banner shows the database without its password, and stays short with 300 handlers", async () => {
  await using folder = await temporaryFolder();
  const table = await loadHandlers(`${folder.path}/handlers`, () => undefined);
  const url = "postgres://app:hunter2@db.example.com:6432/app?sslmode=require";
  const postgres = banner(configFor(folder.path, { DATABASE_URL: url }, "dev"), 3000, table);
  expect(postgres).toContain("  Database   Postgres, app on db.example.com:6432\n");
  expect(postgres).not.toContain("hunter2");
  const config = configFor(folder.path, { DATABASE_URL: "sqlite:data/app.db" }, "dev");
  expect(banner(config, 3000, table)).toContain("  Database   SQLite, data/app.db\n");

  const handlers = Array.from({ length: 300 }, (_, n) => ({
    name: `user.created/n${n}`,
    file: `user.created/n${n}.ts`,
    event: "user.created",
    lane: `user/n${n}`,
    options: {},
    ...(n === 299 && { error: { where: "user.created/n299.ts", message: "no such\nthing" } }),
  }));
  const many = banner(config, 3000, { ...table, handlers });
  expect(many.split("\n").length).toBeLessThan(24);
  expect(many).toMatch(/Handlers +✗ .*n299\.ts {3}not loaded: no such\n/);
  expect(many).toContain("and 289 more; to list them: bun handlers");
});

test("messages that this version does not know are ignored", () => {
  for (const text of ["", "[]", "{}", '{"type":"start","data":{"token":"../x"}}', '{"type":"event","data":{"id":1}}'])
    expect(readFrame(text)).toBeUndefined();
  const frame = readFrame('{"type":"event","version":1,"data":{"id":"1","headers":{"a b":"x","host":"h","x":"y"}}}');
  if (frame?.kind !== "request") throw new Error("not a request");
  expect([...frame.request.headers]).toEqual([["x", "y"]]);
  expect(new Set(Array.from({ length: 100 }, makeToken)).size).toBe(100);
});

test("bun dev --tunnel prints the address to paste, and opens none without the flag", async () => {
  await using relay = startRelay();
  await using folder = await folderWithHandlers();
  const event = JSON.stringify(sample("user.created"));
  const run = async (...args: string[]) => {
    const env = { PATH: process.env.PATH, HOME: folder.path, ...environment(folder.path) };
    const command = [process.execPath, join(import.meta.dir, "dev-with-tunnel.ts"), relay.url, ...args];
    const child = Bun.spawn(command, { cwd: folder.path, env, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    let output = "";
    const drained = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stdout) output += decoder.decode(chunk, { stream: true });
    })();
    const found = /\/in\/(c_\w{10})\/\n/;
    const shown = args.length > 0 ? found : /ngrok http/;
    await until("the address", () => shown.test(output) || undefined, 30_000);
    const token = found.exec(output)?.[1];
    if (token) expect((await relay.post(token, event, signed(event))).status).toBe(200);
    child.kill("SIGTERM");
    await child.exited;
    await drained;
    return token;
  };
  const token = await run("--tunnel");
  await until("the connection to close", () => relay.tokens().length === 0);
  expect(await run("--tunnel")).toBe(token);
  await run();
  expect(relay.registrations).toEqual([token ?? "", token ?? ""]);
});

test("message ids have Svix's format and sort by time", () => {
  const ids = [1_700_000_000_000, 1_700_000_001_000, 1_800_000_000_000].map((now) => messageId(now));
  for (const id of ids) expect(id).toMatch(/^msg_[0-9A-Za-z]{27}$/);
  expect(ids.toSorted()).toEqual(ids);
  expect(messageId(1_700_000_000_000)).not.toBe(messageId(1_700_000_000_000));
  expect(secondsIn(messageId(1_700_000_000_000))).toBe(1_700_000_000);
});

/** The timestamp of a KSUID, in seconds. */
function secondsIn(id: string): number {
  const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const number = id
    .slice(4)
    .split("")
    .reduce((sum, character) => sum * 62n + BigInt(alphabet.indexOf(character)), 0n);
  return Number(number >> 128n) + 1_400_000_000;
}
