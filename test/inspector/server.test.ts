import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";

import type { SentJson, ServerJson } from "../../src/api/types.ts";
import { freePort, rawExchange, rawRequest, serverWith, spawnServer, temporaryFolder, until } from "../harness.ts";
import { inspected, TOKEN, tokenIn } from "./inspected.ts";

describe("who comes in", () => {
  test("nothing of it is reachable through the public port", async () => {
    await using it = await inspected();
    for (const path of ["/", "/app.js", "/api/server", "/api/deliveries", "/api/feed", "/api/sign-in"])
      expect((await fetch(`http://127.0.0.1:${it.port}${path}`)).status, path).toBe(404);
    expect((await it.write("/api/webhooks")).status).toBe(404);
  });

  test("in start, there is none without a token", async () => {
    await using server = await serverWith({});
    expect(server.inspectorUrl).toBeUndefined();
  });

  test("without a session, a local user and a raw tunnel with Host: localhost get nothing and send nothing", async () => {
    await using it = await inspected();
    const port = Number(new URL(it.at).port);
    const ask = (method: string, path: string, headers: Record<string, string> = {}) =>
      rawExchange(port, rawRequest(method, path, { host: "localhost", ...headers }));
    for (const path of ["/api/server", "/api/deliveries", "/api/feed", "/api/search"])
      expect((await ask("GET", path)).status, path).toBe(401);
    const own = { host: "localhost", origin: "http://localhost", "content-type": "application/json" };
    const sent = rawRequest("POST", "/api/send", own, '{"event":"user.created"}');
    expect((await rawExchange(port, sent)).status).toBe(401);
    const page = await ask("GET", "/");
    expect(page.status).toBe(200);
    expect(page.body).not.toContain(tokenIn(it.inspectorLink));
  });

  test("without INSPECTOR_TOKEN, each start makes a token of its own; an earlier one opens nothing", async () => {
    await using first = await inspected();
    await using second = await inspected();
    expect(tokenIn(first.inspectorLink)).toMatch(/^[0-9a-f]{48}$/);
    expect((await second.write("/api/sign-in", { token: tokenIn(first.inspectorLink) })).status).toBe(401);
    // One host, two ports: a browser shows both inspectors both cookies.
    const both = `${first.cookie.cookie}; ${second.cookie.cookie}`;
    for (const { at } of [first, second])
      expect((await fetch(`${at}/api/server`, { headers: { cookie: both } })).status).toBe(200);
    expect((await fetch(`${first.at}/api/server`, { headers: second.cookie })).status).toBe(401);
  });

  test("the token of a start is printed by bun dev, and never logged", async () => {
    await using folder = await temporaryFolder();
    await using dev = await spawnServer(folder.path, { mode: "dev" });
    await until("the banner", () => dev.output().includes("Inspector ") || undefined);
    expect(dev.output()).toMatch(/^ +Inspector +http:\/\/127\.0\.0\.1:\d+\/#token=[0-9a-f]{48}$/m);
    expect(dev.output().match(/#token=/g)).toHaveLength(1);
    await using server = await serverWith({}, {}, undefined, "dev");
    expect(JSON.stringify(server.lines)).not.toContain(tokenIn(server.inspectorLink));
  });

  test("commands use the socket file, which is for its owner only", async () => {
    await using it = await inspected();
    const path = join(it.dataDir, "bellhop.sock");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect((await fetch("http://bellhop/api/server", { unix: path })).status).toBe(200);
  });

  test("without INSPECTOR_TOKEN, tunnels, other names and other sites are refused on the wire", async () => {
    await using it = await inspected();
    const port = Number(new URL(it.at).port);
    const status = async (method: string, path: string, headers: Record<string, string>) =>
      (await rawExchange(port, rawRequest(method, path, { ...it.cookie, ...headers }))).status;
    expect(await status("GET", "/api/server", { host: "localhost" })).toBe(200);
    expect(await status("GET", "/api/server", { host: "example.com" })).toBe(403);
    expect(await status("GET", "/api/server", { host: "localhost", "x-forwarded-for": "192.0.2.1" })).toBe(403);
    expect(await status("GET", "http://localhost/api/server", { host: "example.com" })).toBe(403);
    expect(await status("POST", "/api/send", { host: "localhost", origin: "http://example.com" })).toBe(403);
    expect(await status("POST", "/api/send", { host: "localhost" })).toBe(403);
    expect(await status("DELETE", "/api/deliveries/msg_1", { host: "localhost" })).toBe(405);
  });

  test("with a token, nothing is answered but the page and the sign-in until it was shown, and after signing out again", async () => {
    await using it = await inspected({}, TOKEN);
    const paths = ["/api/server", "/api/deliveries", "/api/feed", "/api/health", "/api/nothing", "/nothing"];
    for (const path of paths) expect((await it.get(path)).status, path).toBe(401);
    expect((await it.write("/api/send", { event: "user.created" })).status).toBe(401);
    const signedIn = await it.signIn();
    expect(signedIn.status).toBe(204);
    expect(signedIn.headers.get("set-cookie")).toMatch(/; HttpOnly; SameSite=Strict$/);
    expect(signedIn.headers.get("set-cookie")).not.toContain(TOKEN);
    expect(await it.json<ServerJson>("/api/server")).toMatchObject({ mode: "start", signedIn: true });
    const feed = await it.get("/api/feed");
    expect((await it.write("/api/sign-out")).status).toBe(204);
    // The stream ends with it.
    await feed.text();
    expect((await it.get("/api/server")).status).toBe(401);
  });

  test("a client without a session gets no data, whatever Host and query it sends", async () => {
    await using it = await inspected({}, TOKEN);
    await it.signIn();
    const { id } = (await (
      await it.write("/api/send", { event: "user.created", data: { private_metadata: { ssn: "078-05-1120" } } })
    ).json()) as SentJson;
    const port = Number(new URL(it.at).port);
    const ask = (target: string) => rawExchange(port, rawRequest("GET", target, { host: "x" }));
    expect((await ask(`/api/deliveries/${id}?payload=true&reveal=true`)).status).toBe(401);
    const answer = await ask(`/?a/api/deliveries/${id}?payload=true&reveal=true`);
    expect(JSON.stringify(answer)).not.toContain("078-05-1120");
  });

  test("a wrong token is told so, late, and after ten of them in a minute only the right one gets in", async () => {
    await using it = await inspected({}, TOKEN);
    const began = performance.now();
    expect((await it.write("/api/sign-in", { token: "wrong" })).status).toBe(401);
    expect(performance.now() - began).toBeGreaterThan(240);
    const many = Array.from({ length: 20 }, () => it.write("/api/sign-in", { token: "wrong" }));
    const first = await Promise.race(many);
    expect(first.status).toBe(429);
    expect(Number(first.headers.get("retry-after"))).toBeGreaterThan(50);
    expect((await it.signIn()).status).toBe(204);
    for (const body of [{}, { token: 1 }, { token: "x".repeat(2_000) }, []])
      expect((await it.write("/api/sign-in", body)).status).toBe(422);
  });

  test("an address that others reach needs a token: without one, the start ends with exit code 78", async () => {
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

  test("in dev, a port that is taken is no failure: the next one is used, and said", async () => {
    await using folder = await temporaryFolder();
    const port = await freePort();
    using other = Bun.serve({ port, hostname: "127.0.0.1", reusePort: false, fetch: () => new Response() });
    await using server = await serverWith({}, { INSPECTOR_PORT: String(other.port) }, folder.path, "dev");
    expect(Number(new URL(server.inspectorUrl ?? "").port)).toBeGreaterThan(port);
    expect(server.lines.map(({ msg }) => msg)).toContainEqual(
      expect.stringContaining(`port ${port} is taken: the inspector is on`),
    );
  });

  test("in start, a port that is taken is told, with what to do", async () => {
    const port = await freePort();
    using other = Bun.serve({ port, hostname: "127.0.0.1", reusePort: false, fetch: () => new Response() });
    const env = { INSPECTOR_PORT: String(other.port), INSPECTOR_TOKEN: TOKEN };
    const refused = await serverWith({}, env).catch((error: Error) => error);
    expect(refused).toMatchObject({ message: expect.stringContaining(`Port ${port} is taken, so the inspector`) });
  });

  test("what is too large is not read", async () => {
    await using it = await inspected();
    expect((await it.write("/api/send", { event: "user.created", data: { a: "x".repeat(2_000_000) } })).status).toBe(
      413,
    );
  });
});

test("the page is served whole from here, without a script or a style in it, and not again when it is the same", async () => {
  await using it = await inspected();
  const page = await it.get("/");
  const text = await page.text();
  expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(text).not.toMatch(/<script(?![^>]* src="\/app\.js")|<style| style=|https?:/);
  for (const path of ["/", "/app.js", "/app.css"]) {
    const first = await it.get(path);
    expect(first.status).toBe(200);
    const again = await it.get(path, { "if-none-match": first.headers.get("etag") ?? "" });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  }
});
