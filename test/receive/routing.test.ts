// The public port: methods, paths, and a port that can't be opened.

import { describe, expect, test } from "bun:test";

import { refusals, UserError } from "../../src/errors.ts";
import { folderWithHandlers, post, rawExchange, rawRequest, runCommand, serverWith, signed } from "../harness.ts";
import { EVENT, linesOf, storedLines, webhookServerWith } from "./webhook-server.ts";

describe("another method on the webhook's path", () => {
  for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
    test(`(${method}) is answered 405 with Allow: POST and an explanation for a browser`, async () => {
      await using server = await serverWith({});
      for (const url of [server.url, `${server.url}/`, `${server.url}?from=browser`]) {
        const response = await fetch(url, { method });
        expect(response.status).toBe(405);
        expect(response.headers.get("allow")).toBe("POST");
        expect(await response.text()).toBe(method === "HEAD" ? "" : `${refusals.method_not_allowed.message}\n`);
      }
      expect(server.lines.filter(({ level }) => level !== 30 && level !== 20)).toEqual([]);
    });

  test("is answered 405 even when it is not an HTTP/1.1 method", async () => {
    await using server = await serverWith({});
    const { status } = await rawExchange(server.port, rawRequest("PROPFIND", "/api/webhooks"));
    expect(status).toBe(405);
  });
});

describe("the path", () => {
  test("may end with a slash, and may have a query", async () => {
    await using server = await serverWith({});
    expect((await post(`${server.url}/`, EVENT)).status).toBe(200);
    expect((await post(`${server.url}?source=clerk`, EVENT)).status).toBe(200);
  });

  test("is WEBHOOK_PATH and no other", async () => {
    await using server = await serverWith({}, { WEBHOOK_PATH: "/hooks/clerk" });
    expect(server.url).toEndWith("/hooks/clerk");
    expect((await server.post(EVENT)).status).toBe(200);
    expect((await post(`${server.url}/`, EVENT)).status).toBe(200);
    expect((await fetch(server.url)).status).toBe(405);
    expect((await post(new URL("/api/webhooks", server.url).href, EVENT)).status).toBe(404);
  });

  test("may be the root", async () => {
    await using server = await serverWith({}, { WEBHOOK_PATH: "/" });
    expect((await server.post(EVENT)).status).toBe(200);
    expect((await fetch(server.url)).status).toBe(405);
    expect((await fetch(new URL("/health", server.url))).status).toBe(200);
  });

  test("does not depend on the Host header", async () => {
    await using server = await serverWith({});
    for (const host of ["localhost", "api", "x", ""])
      for (const path of ["/api/webhooks", "/api/webhooks/"]) {
        const good = await rawExchange(server.port, rawRequest("POST", path, { ...signed(EVENT), host }, EVENT));
        expect({ host, path, ...good }).toMatchObject({ status: 200, body: expect.stringContaining("accepted") });
        const browser = await rawExchange(server.port, rawRequest("GET", path, { host }));
        expect({ host, path, ...browser }).toMatchObject({ status: 405 });
      }
    for (const path of ["/", "//", "/health/x", "/%", "/..", "http://[::bad/"])
      expect({ path, ...(await rawExchange(server.port, rawRequest("GET", path, { host: "" }))) }).toEqual({
        path,
        status: 404,
        body: '{"error":"not_found"}',
      });
  });

  test("is reported once a second while signed requests elsewhere are answered 404", async () => {
    await using server = await serverWith({});
    const start = performance.now();
    for (const path of ["/", "/webhooks", "/api/webhook", "/API/WEBHOOKS", "/api/webhooks/clerk", "/health"]) {
      const response = await post(new URL(path, server.url).href, EVENT);
      expect(response.status).toBe(404);
      expect(await response.text()).toBe('{"error":"wrong_path"}');
    }
    const seconds = Math.floor((performance.now() - start) / 1_000);
    expect(linesOf(server, "wrong_path").length).toBeWithin(1, seconds + 2);
    expect(storedLines(server)).toEqual([]);
  });

  test("is part of the refusal of a signed request elsewhere", async () => {
    await using server = webhookServerWith({}, { webhookPath: "/hooks/clerk" });
    await post(`${server.origin}/webhooks`, EVENT, { id: "msg_1" });
    expect(server.refused).toMatchObject([
      { count: 1, refused: { code: "wrong_path", claimedId: "msg_1", rightPath: "/hooks/clerk" } },
    ]);
  });

  test("is named in the log line about a signed request elsewhere", async () => {
    await using server = await serverWith({}, { WEBHOOK_PATH: "/hooks/clerk" });
    await post(new URL("/webhooks", server.url).href, EVENT);
    expect(linesOf(server, "wrong_path")).toMatchObject([{ msg: expect.stringContaining("/hooks/clerk") }]);
  });

  test("is the only one besides /health: other requests are answered 404 and not logged", async () => {
    await using server = await serverWith({});
    const requests: [string, string][] = [
      ["GET", "/"],
      ["GET", "/index.html"],
      ["GET", "/api"],
      ["GET", "/api/deliveries/msg_1"],
      ["GET", "/api/server"],
      ["GET", "/favicon.ico"],
      ["POST", "/"],
      ["POST", "/health"],
      ["POST", "/api/deliveries/msg_1/replay"],
      ["OPTIONS", "/health"],
    ];
    for (const [method, path] of requests) {
      const response = await fetch(new URL(path, server.url), { method });
      expect([method, path, response.status, await response.text()]).toEqual([
        method,
        path,
        404,
        '{"error":"not_found"}',
      ]);
    }
    expect(server.lines.filter(({ level }) => level === 40)).toEqual([]);
  });
});

describe("a port that is in use", () => {
  test("is reported with its number and an example, and the first server still gets every request", async () => {
    await using first = await serverWith({});
    const refused: unknown = await serverWith({}, { PORT: String(first.port) }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(UserError);
    expect((refused as UserError).message).toMatch(new RegExp(`^Port ${first.port} is taken[^]*PORT=3000$`));
    for (let i = 0; i < 20; i++) await first.post(EVENT);
    expect(storedLines(first)).toHaveLength(20);
  });

  test("ends `bun start` with a message and no stack", async () => {
    await using first = await serverWith({});
    await using folder = await folderWithHandlers();
    const { exitCode, stdout, stderr } = await runCommand(folder.path, ["start"], {
      PORT: String(first.port),
    });
    expect(exitCode).toBe(1);
    expect(stdout + stderr).toContain(`Port ${first.port} is taken`);
    expect(stdout + stderr).not.toMatch(/^\s+at /m);
  });

  test("is distinguished from an address that this machine does not have", async () => {
    // 192.0.2.0/24 is reserved for documentation (RFC 5737), so no machine has it.
    const refused: unknown = await serverWith({}, { HOST: "192.0.2.1" }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(UserError);
    expect((refused as UserError).message).toMatch(/no address 192\.0\.2\.1[^]*HOST=/);
  });
});
