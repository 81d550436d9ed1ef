import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";

import type { ServerJson } from "../../src/api/server-types.ts";
import type { SentJson } from "../../src/api/types.ts";
import { freePort, rawExchange, rawRequest, serverWith, spawnServer, temporaryFolder, until } from "../harness.ts";
import { inspected, TOKEN, tokenIn } from "./inspected.ts";

describe("access", () => {
  test("the public port does not serve the inspector", async () => {
    await using bellhop = await inspected();
    for (const path of ["/", "/app.js", "/api/server", "/api/deliveries", "/api/feed", "/api/sign-in"])
      expect((await fetch(`http://127.0.0.1:${bellhop.port}${path}`)).status, path).toBe(404);
    expect((await bellhop.write("/api/webhooks")).status).toBe(404);
  });

  test("bun start without a token has no inspector", async () => {
    await using server = await serverWith({});
    expect(server.inspectorUrl).toBeUndefined();
  });

  test("without a session, a request with Host: localhost can neither read nor send", async () => {
    await using bellhop = await inspected();
    const port = Number(new URL(bellhop.at).port);
    const ask = (method: string, path: string, headers: Record<string, string> = {}) =>
      rawExchange(port, rawRequest(method, path, { host: "localhost", ...headers }));
    for (const path of ["/api/server", "/api/deliveries", "/api/feed", "/api/search"])
      expect((await ask("GET", path)).status, path).toBe(401);
    const own = { host: "localhost", origin: "http://localhost", "content-type": "application/json" };
    const sent = rawRequest("POST", "/api/send", own, '{"event":"user.created"}');
    expect((await rawExchange(port, sent)).status).toBe(401);
    const page = await ask("GET", "/");
    expect(page.status).toBe(200);
    expect(page.body).not.toContain(tokenIn(bellhop.inspectorLink));
  });

  test("without INSPECTOR_TOKEN each start creates a new token, and earlier ones are invalid", async () => {
    await using first = await inspected();
    await using second = await inspected();
    expect(tokenIn(first.inspectorLink)).toMatch(/^[0-9a-f]{48}$/);
    expect((await second.write("/api/sign-in", { token: tokenIn(first.inspectorLink) })).status).toBe(401);
    // Cookies ignore the port: a browser sends the cookies of both inspectors to each.
    const both = `${first.cookie.cookie}; ${second.cookie.cookie}`;
    for (const { at } of [first, second])
      expect((await fetch(`${at}/api/server`, { headers: { cookie: both } })).status).toBe(200);
    expect((await fetch(`${first.at}/api/server`, { headers: second.cookie })).status).toBe(401);
  });

  test("bun dev prints its token once, and no server logs it", async () => {
    await using folder = await temporaryFolder();
    await using dev = await spawnServer(folder.path, { mode: "dev" });
    await until("the banner", () => dev.output().includes("Inspector ") || undefined);
    expect(dev.output()).toMatch(/^ +Inspector +http:\/\/127\.0\.0\.1:\d+\/#token=[0-9a-f]{48}$/m);
    expect(dev.output().match(/#token=/g)).toHaveLength(1);
    await using server = await serverWith({}, {}, undefined, "dev");
    expect(JSON.stringify(server.lines)).not.toContain(tokenIn(server.inspectorLink));
  });

  test("only the owner can use the socket file", async () => {
    await using bellhop = await inspected();
    const path = join(bellhop.dataDir, "bellhop.sock");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect((await fetch("http://bellhop/api/server", { unix: path })).status).toBe(200);
  });

  test("without INSPECTOR_TOKEN, requests through tunnels, with other host names and from other sites are refused", async () => {
    await using bellhop = await inspected();
    const port = Number(new URL(bellhop.at).port);
    const status = async (method: string, path: string, headers: Record<string, string>) =>
      (await rawExchange(port, rawRequest(method, path, { ...bellhop.cookie, ...headers }))).status;
    expect(await status("GET", "/api/server", { host: "localhost" })).toBe(200);
    expect(await status("GET", "/api/server", { host: "example.com" })).toBe(403);
    expect(await status("GET", "/api/server", { host: "localhost", "x-forwarded-for": "192.0.2.1" })).toBe(403);
    expect(await status("GET", "http://localhost/api/server", { host: "example.com" })).toBe(403);
    expect(await status("POST", "/api/send", { host: "localhost", origin: "http://example.com" })).toBe(403);
    expect(await status("POST", "/api/send", { host: "localhost" })).toBe(403);
    expect(await status("DELETE", "/api/deliveries/msg_1", { host: "localhost" })).toBe(405);
  });

  test("with a token, the API is available only between sign-in and sign-out", async () => {
    await using bellhop = await inspected({}, TOKEN);
    const paths = ["/api/server", "/api/deliveries", "/api/feed", "/api/health", "/api/nothing", "/nothing"];
    for (const path of paths) expect((await bellhop.get(path)).status, path).toBe(401);
    expect((await bellhop.write("/api/send", { event: "user.created" })).status).toBe(401);
    const signedIn = await bellhop.signIn();
    expect(signedIn.status).toBe(204);
    expect(signedIn.headers.get("set-cookie")).toMatch(/; HttpOnly; SameSite=Strict$/);
    expect(signedIn.headers.get("set-cookie")).not.toContain(TOKEN);
    expect(await bellhop.json<ServerJson>("/api/server")).toMatchObject({ mode: "start", signedIn: true });
    const feed = await bellhop.get("/api/feed");
    expect((await bellhop.write("/api/sign-out")).status).toBe(204);
    // Signing out ends the stream.
    await feed.text();
    expect((await bellhop.get("/api/server")).status).toBe(401);
  });

  test("a client without a session gets no data with any Host header and query", async () => {
    await using bellhop = await inspected({}, TOKEN);
    await bellhop.signIn();
    const { id } = (await (
      await bellhop.write("/api/send", { event: "user.created", data: { private_metadata: { ssn: "078-05-1120" } } })
    ).json()) as SentJson;
    const port = Number(new URL(bellhop.at).port);
    const get = (target: string) => rawExchange(port, rawRequest("GET", target, { host: "x" }));
    expect((await get(`/api/deliveries/${id}?payload=true&reveal=true`)).status).toBe(401);
    const answer = await get(`/?a/api/deliveries/${id}?payload=true&reveal=true`);
    expect(JSON.stringify(answer)).not.toContain("078-05-1120");
  });

  test("a wrong token is answered late, and after ten within a minute with 429, unlike the right token", async () => {
    await using bellhop = await inspected({}, TOKEN);
    const began = performance.now();
    expect((await bellhop.write("/api/sign-in", { token: "wrong" })).status).toBe(401);
    expect(performance.now() - began).toBeGreaterThan(240);
    const attempts = Array.from({ length: 20 }, () => bellhop.write("/api/sign-in", { token: "wrong" }));
    const first = await Promise.race(attempts);
    expect(first.status).toBe(429);
    expect(Number(first.headers.get("retry-after"))).toBeGreaterThan(50);
    expect((await bellhop.signIn()).status).toBe(204);
    for (const body of [{}, { token: 1 }, { token: "x".repeat(2_000) }, []])
      expect((await bellhop.write("/api/sign-in", body)).status).toBe(422);
  });

  test("a start with a public INSPECTOR_HOST and no token fails with exit code 78", async () => {
    for (const mode of ["dev", "start"] as const) {
      await using folder = await temporaryFolder();
      const started = spawnServer(folder.path, { mode, env: { INSPECTOR_HOST: "0.0.0.0" } });
      const error = await started.then(
        () => "",
        (reason: Error) => reason.message,
      );
      expect(error).toContain("ended with 78");
      expect(error).toContain("INSPECTOR_TOKEN");
    }
  });

  test("bun dev uses the next port when the inspector's port is taken, and logs it", async () => {
    await using folder = await temporaryFolder();
    const port = await freePort();
    using other = Bun.serve({ port, hostname: "127.0.0.1", reusePort: false, fetch: () => new Response() });
    await using server = await serverWith({}, { INSPECTOR_PORT: String(other.port) }, folder.path, "dev");
    expect(Number(new URL(server.inspectorUrl ?? "").port)).toBeGreaterThan(port);
    expect(server.lines.map(({ msg }) => msg)).toContainEqual(
      expect.stringContaining(`port ${port} is taken: the inspector is on`),
    );
  });

  test("bun start fails with a message when the inspector's port is taken", async () => {
    const port = await freePort();
    using other = Bun.serve({ port, hostname: "127.0.0.1", reusePort: false, fetch: () => new Response() });
    const env = { INSPECTOR_PORT: String(other.port), INSPECTOR_TOKEN: TOKEN };
    const refused = await serverWith({}, env).catch((error: Error) => error);
    expect(refused).toMatchObject({
      message: expect.stringMatching(new RegExp(`^Port ${port} is taken[^]*INSPECTOR_PORT=3001$`)),
    });
  });

  test("a body that is too large gets 413", async () => {
    await using bellhop = await inspected();
    expect(
      (await bellhop.write("/api/send", { event: "user.created", data: { a: "x".repeat(2_000_000) } })).status,
    ).toBe(413);
  });
});

test("the page loads nothing from elsewhere, has no inline script or style, and is cached by its ETag", async () => {
  await using bellhop = await inspected();
  const page = await bellhop.get("/");
  const text = await page.text();
  expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(text).not.toMatch(/<script(?![^>]* src="\/app\.js")|<style| style=|https?:/);
  for (const path of ["/", "/app.js", "/app.css"]) {
    const first = await bellhop.get(path);
    expect(first.status).toBe(200);
    const again = await bellhop.get(path, { "if-none-match": first.headers.get("etag") ?? "" });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  }
});
