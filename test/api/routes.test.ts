import { describe, expect, test } from "bun:test";

import type {
  DeliveryJson,
  DeliveryList,
  HandlerJson,
  HealthJson,
  RefusedJson,
  SearchJson,
  SentJson,
  ServerJson,
} from "../../src/api/types.ts";
import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { FAILS, inspected } from "../inspector/inspected.ts";

describe("a running server", () => {
  test("describes itself, with its webhook endpoint and the samples it can send", async () => {
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

  test("sends every sample through its public port", async () => {
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

  test("shows the line of the user's code that threw", async () => {
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

  test("counts what handlers ran, and shows which do not load", async () => {
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

  test("shows the last hour, and refused requests with a remedy", async () => {
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
    expect(refused.explanations.no_match?.remedy).toContain("CLERK_WEBHOOK_SIGNING_SECRET");
  });

  test("knows how long the oldest run has waited, retries aside", async () => {
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

describe("deliveries", () => {
  test("a run is retried now, given up, and replayed", async () => {
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
    expect(await it.json("/api/replays?state=dead")).toMatchObject({ found: expect.any(Number) });
  });

  test("search finds payloads, ids and subjects in any case, and continues where it stopped", async () => {
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
    expect(await ids(`text=${text}`)).toEqual({ deliveries: ["msg_23", "msg_13", "msg_3"], searched: 30, next: null });
    const first = await ids(`text=${text}&limit=2`);
    expect(first).toMatchObject({ deliveries: ["msg_23", "msg_13"], searched: 17 });
    expect(await ids(`text=${text}&limit=2&before=${first.next}&searched=17`)).toEqual({
      deliveries: ["msg_3"],
      searched: 30,
      next: null,
    });
    expect(await ids("text=MSG_29")).toMatchObject({ deliveries: ["msg_29"] });
    expect(await ids("text=ada&state=dead")).toEqual({ deliveries: [], searched: 0, next: null });
    expect((await it.get("/api/search")).status).toBe(422);
  });

  test("a list continues page by page while new deliveries arrive", async () => {
    await using it = await inspected();
    for (let each = 0; each < 25; each += 1) await it.post(sample("user.created"), { id: `msg_${each}` });
    const seen: string[] = [];
    let before: number | null = null;
    do {
      const page: DeliveryList = await it.json(`/api/deliveries?limit=10${before === null ? "" : `&before=${before}`}`);
      seen.push(...page.deliveries.map(({ id }) => id));
      before = page.next;
      await it.post(sample("user.created"));
    } while (before !== null);
    expect(seen).toEqual(Array.from({ length: 25 }, (_, each) => `msg_${24 - each}`));
  });

  test("the feed reports a delivery and the end of its run", async () => {
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

describe("payloads", () => {
  test("codes and private metadata are redacted until they are revealed", async () => {
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

  test("a payload with scripts is sent as JSON, which no browser runs", async () => {
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
