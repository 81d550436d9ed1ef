import { describe, expect, test } from "bun:test";

import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import type { Listed } from "../../src/inbox/queries.ts";
import type {
  DeliveryJson,
  HandlerJson,
  HealthJson,
  RefusedJson,
  SearchJson,
  SentJson,
  ServerJson,
} from "../../src/inspector/types.ts";
import { freePort, rawExchange, rawRequest, serverWith, spawnServer, temporaryFolder, until } from "../harness.ts";

const TOKEN = "an-inspector-token-of-32-letters";
const FAILS = `export const other = 1;

export default () => {
  throw new Error("no mail today");
};
`;

/** A server with its inspector, as in dev, or as in start when there is a token. */
async function inspected(files: Record<string, string> = {}, token?: string) {
  const mode = token === undefined ? "dev" : "start";
  const server = await serverWith(files, token === undefined ? {} : { INSPECTOR_TOKEN: token }, undefined, mode);
  const at = server.inspectorUrl ?? "nowhere";
  const cookie: Record<string, string> = {};
  const write = (path: string, body?: unknown, headers: Record<string, string> = {}) =>
    fetch(`${at}${path}`, {
      method: "POST",
      ...(body !== undefined && { body: JSON.stringify(body) }),
      headers: { origin: at, ...(body !== undefined && { "content-type": "application/json" }), ...cookie, ...headers },
    });
  return {
    ...server,
    at,
    write,
    get: (path: string, headers: Record<string, string> = {}) =>
      fetch(`${at}${path}`, { headers: { ...cookie, ...headers } }),
    json: async <T>(path: string) => (await (await fetch(`${at}${path}`, { headers: cookie })).json()) as T,
    /** Signs in, and shows the cookie from then on. */
    async signIn() {
      const response = await write("/api/sign-in", { token });
      cookie.cookie = response.headers.get("set-cookie")?.split(";")[0] ?? "";
      return response;
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

describe("what the inspector knows", () => {
  test("the server, with where Clerk's requests come in and what can be sent", async () => {
    await using it = await inspected();
    const server = await it.json<ServerJson>("/api/server");
    expect(server).toMatchObject({
      pid: process.pid,
      mode: "dev",
      publicUrl: null,
      secretIsOurs: false,
      signedIn: false,
    });
    expect(server.webhookUrl).toBe(it.url);
    expect(server.samples).toHaveLength(46);
    it.usePublicUrl("https://x.ngrok.app/api/webhooks");
    it.useSecrets([Buffer.alloc(24)], { secretHint: "whsec_abcd…", secretIsOurs: true });
    expect(await it.json<ServerJson>("/api/server")).toMatchObject({
      publicUrl: "https://x.ngrok.app/api/webhooks",
      secretHint: "whsec_abcd…",
      secretIsOurs: true,
    });
  });

  test("every sample can be sent from it, and arrives by the public door", async () => {
    await using it = await inspected();
    const { samples } = await it.json<ServerJson>("/api/server");
    for (const event of samples) {
      const sent = (await (await it.write("/api/send", { event })).json()) as SentJson;
      expect(sent.status).toBe(200);
      expect(await it.json<DeliveryJson>(`/api/deliveries/${sent.id}`)).toMatchObject({ id: sent.id, type: event });
    }
    const data = { first_name: "Zoë" };
    const { id } = (await (await it.write("/api/send", { event: "user.created", data })).json()) as SentJson;
    expect((await it.json<DeliveryJson>(`/api/deliveries/${id}?payload=true`)).payload).toContain("Zoë");
    const unknown = await it.write("/api/send", { event: "user.create" });
    expect([unknown.status, await unknown.json()]).toEqual([404, expect.objectContaining({ error: "unknown_event" })]);
  });

  test("a delivery, with the line of the user's code that threw", async () => {
    await using it = await inspected({ "user.created.ts": FAILS });
    await it.post(sample("user.created"), { id: "msg_1" });
    const run = await until("the first attempt", async () => {
      const { runs } = await it.json<DeliveryJson>("/api/deliveries/msg_1");
      return runs[0]?.attempts.length ? runs[0] : undefined;
    });
    expect(run).toMatchObject({
      state: "waiting",
      attempts: [
        {
          error: { message: "no mail today" },
          frame: {
            file: "handlers/user.created.ts",
            line: 4,
            source: [{ number: 1 }, {}, {}, { text: '  throw new Error("no mail today");' }, {}, {}],
          },
        },
      ],
    });
    expect((await it.get("/api/deliveries/msg_2")).status).toBe(404);
  });

  test("handlers, with what they ran and what does not load", async () => {
    await using it = await inspected({
      "user.created.ts": FAILS,
      "user.updated.ts": "export default () => {};",
      "user.deleted.ts": "export default (",
    });
    await it.post(sample("user.updated"), { id: "msg_1" });
    await it.ended("msg_1");
    await it.post(sample("user.created"), { id: "msg_2" });
    const handlers = await until("the failure", async () => {
      const found = await it.json<HandlerJson[]>("/api/handlers");
      return found.some(({ failed }) => failed > 0) ? found : undefined;
    });
    const of = (name: string) => handlers.find((each) => each.name === name);
    expect(of("user.updated")).toMatchObject({
      ran: 1,
      failed: 0,
      error: null,
      lastError: null,
      p50: expect.any(Number),
    });
    expect(of("user.created")).toMatchObject({ failed: 1, lastError: { delivery: "msg_2", message: "no mail today" } });
    expect(of("user.deleted")).toMatchObject({
      ran: 0,
      p50: null,
      error: { where: expect.stringContaining("user.deleted.ts") },
    });
  });

  test("the last hour, and requests that were refused, with what to do", async () => {
    await using it = await inspected({ "user.created.ts": "export default () => {};" });
    await it.post(sample("user.created"), { id: "msg_1" });
    await it.ended("msg_1");
    await it.post(sample("user.created"), { secret: `whsec_${Buffer.alloc(24).toString("base64")}`, id: "msg_2" });
    await fetch(it.url, { method: "POST" });
    const health = await it.json<HealthJson>("/api/health");
    expect(health.deliveries.reduce((sum, count) => sum + count)).toBe(1);
    expect(health.p50.filter((each) => each !== null)).toHaveLength(1);
    expect(health).toMatchObject({ writable: true });
    const refused = await it.json<RefusedJson>("/api/refused");
    expect(refused.counts).toEqual({ no_match: 1, missing_headers: 1 });
    expect(refused.latest.map(({ code, claimedId }) => [code, claimedId])).toEqual([
      ["missing_headers", null],
      ["no_match", "msg_2"],
    ]);
    expect(refused.says.no_match?.remedy).toContain("CLERK_WEBHOOK_SIGNING_SECRET");
  });

  test("the age of the oldest run that waits, also behind a hundred others; not of one that waits for its time", async () => {
    const files = { "user.created.ts": "export default () => Bun.sleep(3_000);", "user.updated.ts": FAILS };
    await using it = await inspected(files);
    await it.post(sample("user.updated"), { id: "msg_0" });
    await until(
      "its failure",
      async () => (await it.json<HandlerJson[]>("/api/handlers")).some(({ failed }) => failed > 0) || undefined,
    );
    const age = async () => (await it.json<HealthJson>("/api/health")).queueAge.at(-1) ?? 0;
    await Bun.sleep(300);
    expect(await age()).toBeLessThan(300);
    for (let each = 1; each <= 150; each += 1) await it.post(sample("user.created"));
    await Bun.sleep(1_000);
    expect(await age()).toBeGreaterThan(990);
  });
});

describe("what it does", () => {
  test("a run goes again now, is given up on, and is replayed", async () => {
    await using it = await inspected({ "user.created.ts": FAILS });
    await it.post(sample("user.created"), { id: "msg_1" });
    const runAfter = (attempts: number) =>
      until(`${attempts} attempts`, async () => {
        const { runs } = await it.json<DeliveryJson>("/api/deliveries/msg_1");
        return runs[0]?.attempts.length === attempts && runs[0].state === "waiting" ? runs[0] : undefined;
      });
    const { run } = await runAfter(1);
    expect(await (await it.write(`/api/runs/${run}/retry`)).json()).toEqual({ done: true });
    await runAfter(2);
    expect(await (await it.write(`/api/runs/${run}/give-up`)).json()).toEqual({ done: true });
    expect(await (await it.write(`/api/runs/${run}/give-up`)).json()).toEqual({ done: false });
    expect((await it.json<DeliveryJson>("/api/deliveries/msg_1")).runs[0]).toMatchObject({
      state: "dead",
      reason: "given up by hand",
    });
    const replayed = await it.write("/api/deliveries/msg_1/replay");
    expect(await replayed.json()).toMatchObject({ handlers: ["user.created"] });
    expect((await it.json<DeliveryJson>("/api/deliveries/msg_1")).runs).toHaveLength(2);
    expect(await it.json("/api/replays?dead=true")).toMatchObject({ found: expect.any(Number) });
  });

  test("text is found in payloads, ids and subjects, whatever its case, and the search goes on where it stopped", async () => {
    await using it = await inspected();
    const rare = "Ænne-Hoëk";
    for (let each = 0; each < 30; each += 1) {
      const first_name = each % 10 === 3 ? rare : "Ada";
      await it.post(sample("user.created", { overrides: { data: { first_name } } }), { id: `msg_${each}` });
    }
    const ids = async (query: string) => {
      const found = await it.json<SearchJson>(`/api/search?${query}`);
      return { ...found, deliveries: found.deliveries.map(({ id }) => id) };
    };
    const text = encodeURIComponent(rare.toUpperCase());
    expect(await ids(`text=${text}`)).toEqual({ deliveries: ["msg_23", "msg_13", "msg_3"], looked: 30, next: null });
    const first = await ids(`text=${text}&limit=2`);
    expect(first).toMatchObject({ deliveries: ["msg_23", "msg_13"], looked: 17 });
    expect(await ids(`text=${text}&limit=2&before=${first.next}&looked=17`)).toEqual({
      deliveries: ["msg_3"],
      looked: 30,
      next: null,
    });
    expect(await ids("text=MSG_29")).toMatchObject({ deliveries: ["msg_29"] });
    expect(await ids("text=ada&state=dead")).toEqual({ deliveries: [], looked: 0, next: null });
    expect((await it.get("/api/search")).status).toBe(422);
  });

  test("lists go on page by page, while new ones come in", async () => {
    await using it = await inspected();
    for (let each = 0; each < 25; each += 1) await it.post(sample("user.created"), { id: `msg_${each}` });
    const seen: string[] = [];
    let before: number | null = null;
    do {
      const page: Listed = await it.json(`/api/deliveries?limit=10${before === null ? "" : `&before=${before}`}`);
      seen.push(...page.deliveries.map(({ id }) => id));
      before = page.next;
      await it.post(sample("user.created"));
    } while (before !== null);
    expect(seen).toEqual(Array.from({ length: 25 }, (_, each) => `msg_${24 - each}`));
  });

  test("the feed tells what comes and how it ends", async () => {
    await using it = await inspected({ "user.created.ts": "export default () => {};" });
    const response = await it.get("/api/feed");
    expect(response.headers.get("cache-control")).toBe("no-store");
    let text = "";
    const read = (async () => {
      for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>)
        text += new TextDecoder().decode(bytes);
    })().catch(() => undefined);
    const id = messageId(Date.now());
    await it.post(sample("user.created"), { id });
    await until("the end of the run", () => (text.includes(id) && text.includes('"state":"done"')) || undefined);
    await it.stop();
    await read;
  });
});

describe("what it hides", () => {
  test("codes and private metadata are shown when somebody asks for them, and not before", async () => {
    await using it = await inspected();
    const event = sample("user.created", { overrides: { data: { private_metadata: { plan: "hidden-thing" } } } });
    await it.post(event, { id: "msg_1" });
    const hidden = await it.json<DeliveryJson>("/api/deliveries/msg_1?payload=true");
    expect(hidden.payload).not.toContain("hidden-thing");
    expect(hidden.hidden).toEqual(["data.private_metadata"]);
    const shown = await it.json<DeliveryJson>("/api/deliveries/msg_1?payload=true&reveal=true");
    expect(shown).toMatchObject({ payload: JSON.stringify(event), hidden: [] });
    expect(await it.json<DeliveryJson>("/api/deliveries/msg_1?reveal=true")).not.toHaveProperty("payload");
  });

  test("a payload full of scripts comes back as JSON that no browser runs", async () => {
    await using it = await inspected();
    const script = '<script>alert(1)</script><img src=x onerror="alert(2)">';
    await it.post(sample("user.created", { overrides: { data: { first_name: script } } }), { id: "msg_1" });
    for (const path of [
      "/api/deliveries/msg_1?payload=true",
      "/api/search?text=script",
      `/api/${encodeURIComponent(script)}`,
    ]) {
      const { headers } = await it.get(path);
      expect(headers.get("content-type")).toStartWith("application/json");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("content-security-policy")).not.toContain("unsafe");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});

describe("who comes in", () => {
  test("nothing of it is reachable through the public port", async () => {
    await using it = await inspected();
    for (const path of ["/", "/app.js", "/api/server", "/api/deliveries", "/api/feed", "/api/sign-in"])
      expect((await fetch(`http://127.0.0.1:${it.port}${path}`)).status, path).toBe(404);
    expect((await fetch(`${it.at}/api/webhooks`, { method: "POST", headers: { origin: it.at } })).status).toBe(404);
  });

  test("in start, there is none without a token", async () => {
    await using server = await serverWith({});
    expect(server.inspectorUrl).toBeUndefined();
  });

  test("without a token, tunnels, other names and other sites are refused on the wire", async () => {
    await using it = await inspected();
    const port = Number(new URL(it.at).port);
    const status = async (method: string, path: string, headers: Record<string, string>) =>
      (await rawExchange(port, rawRequest(method, path, headers))).status;
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

  test("a wrong token is told so, late, and ten of them in a minute close the door", async () => {
    await using it = await inspected({}, TOKEN);
    const began = performance.now();
    expect((await it.write("/api/sign-in", { token: "wrong" })).status).toBe(401);
    expect(performance.now() - began).toBeGreaterThan(240);
    const many = Array.from({ length: 20 }, () => it.write("/api/sign-in", { token: "wrong" }));
    const first = await Promise.race(many);
    expect(first.status).toBe(429);
    expect(Number(first.headers.get("retry-after"))).toBeGreaterThan(50);
    expect((await it.signIn()).status).toBe(429);
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

describe("zz", () => {
  test("nothing behind the door is given to who is not signed in, whatever Host and query it asks with", async () => {
    await using it = await inspected({}, TOKEN);
    await it.signIn();
    const { id } = (await (
      await it.write("/api/send", { event: "user.created", data: { private_metadata: { ssn: "078-05-1120" } } })
    ).json()) as SentJson;
    const port = Number(new URL(it.at).port);
    const ask = (target: string) => rawExchange(port, rawRequest("GET", target, { host: "x" }));
    expect((await ask(`/api/deliveries/${id}?payload=true&reveal=true`)).status).toBe(401);
    const answer = await ask(`/?a/api/deliveries/${id}?payload=true&reveal=true`);
    console.log(JSON.stringify(answer).slice(0, 600));
    expect(JSON.stringify(answer)).not.toContain("078-05-1120");
  });
});
