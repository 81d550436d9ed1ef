import { expect, test } from "bun:test";

import { messageId } from "../../src/clerk/message-id.ts";
import { banner, describeAddress, localUrl } from "../../src/cli/banner.ts";
import { findTunnel, watchTunnel } from "../../src/cli/tunnel.ts";
import { loadHandlers } from "../../src/handlers/loader.ts";
import { configFor, temporaryFolder, until } from "../harness.ts";

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
  expect(describeAddress(config, 3000, "https://a.ngrok.app")).toContain("https://a.ngrok.app/api/webhooks");
  expect(describeAddress(config, 3000, undefined)).toContain("ngrok http 3000\n");
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
