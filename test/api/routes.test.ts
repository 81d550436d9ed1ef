import { describe, expect, test } from "bun:test";

import type { HealthJson, RefusedJson, ServerJson } from "../../src/api/server-types.ts";
import type { DeliveryJson, DeliveryList, HandlerJson, SearchJson, SentJson } from "../../src/api/types.ts";
import { messageId } from "../../src/clerk/message-id.ts";
import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { FAILS, inspected } from "../inspector/inspected.ts";

describe("a running server", () => {
  test("describes itself, its webhook endpoint and the samples that it can send", async () => {
    await using bellhop = await inspected();
    const server = await bellhop.json<ServerJson>("/api/server");
    expect(server).toMatchObject({
      pid: process.pid,
      mode: "dev",
      publicUrl: null,
      isDevSecret: false,
      signedIn: false,
    });
    expect(server.webhookUrl).toBe(bellhop.url);
    expect(server.samples).toHaveLength(46);
    bellhop.usePublicUrl("https://x.ngrok.app/api/webhooks");
    bellhop.useSecrets([Buffer.alloc(24)], { secretHint: "whsec_abcd…", isDevSecret: true });
    expect(await bellhop.json<ServerJson>("/api/server")).toMatchObject({
      publicUrl: "https://x.ngrok.app/api/webhooks",
      secretHint: "whsec_abcd…",
      isDevSecret: true,
    });
  });

  test("sends every sample through its public port", async () => {
    await using bellhop = await inspected();
    const { samples } = await bellhop.json<ServerJson>("/api/server");
    for (const event of samples) {
      const sent = (await (await bellhop.write("/api/send", { event })).json()) as SentJson;
      expect(sent.status).toBe(200);
      expect(await bellhop.json<DeliveryJson>(`/api/deliveries/${sent.id}`)).toMatchObject({
        id: sent.id,
        type: event,
      });
    }
    const data = { first_name: "Zoë" };
    const { id } = (await (await bellhop.write("/api/send", { event: "user.created", data })).json()) as SentJson;
    expect((await bellhop.json<DeliveryJson>(`/api/deliveries/${id}?payload=true`)).payload).toContain("Zoë");
    const unknown = await bellhop.write("/api/send", { event: "user.create" });
    expect([unknown.status, await unknown.json()]).toEqual([404, expect.objectContaining({ error: "unknown_event" })]);
  });

  test("shows the line of the user's code that threw", async () => {
    await using bellhop = await inspected({ "user.created.ts": FAILS });
    await bellhop.post(sample("user.created"), { id: "msg_1" });
    const run = await until("the first attempt", async () => {
      const { runs } = await bellhop.json<DeliveryJson>("/api/deliveries/msg_1");
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
    expect((await bellhop.get("/api/deliveries/msg_2")).status).toBe(404);
  });

  test("counts runs per handler, and shows which handlers do not load", async () => {
    await using bellhop = await inspected({
      "user.created.ts": FAILS,
      "user.updated.ts": "export default () => {};",
      "user.deleted.ts": "export default (",
    });
    await bellhop.post(sample("user.updated"), { id: "msg_1" });
    await bellhop.ended("msg_1");
    await bellhop.post(sample("user.created"), { id: "msg_2" });
    const handlers = await until("the failure", async () => {
      const found = await bellhop.json<HandlerJson[]>("/api/handlers");
      return found.some(({ failed }) => failed > 0) ? found : undefined;
    });
    const handlerOf = (name: string) => handlers.find((handler) => handler.name === name);
    expect(handlerOf("user.updated")).toMatchObject({
      ran: 1,
      failed: 0,
      error: null,
      lastError: null,
      p50: expect.any(Number),
    });
    expect(handlerOf("user.created")).toMatchObject({
      failed: 1,
      lastError: { delivery: "msg_2", message: "no mail today" },
    });
    expect(handlerOf("user.deleted")).toMatchObject({
      ran: 0,
      p50: null,
      error: { where: expect.stringContaining("user.deleted.ts") },
    });
  });

  test("shows the last hour, and refused requests with a remedy", async () => {
    await using bellhop = await inspected({ "user.created.ts": "export default () => {};" });
    await bellhop.post(sample("user.created"), { id: "msg_1" });
    await bellhop.ended("msg_1");
    await bellhop.post(sample("user.created"), { secret: `whsec_${Buffer.alloc(24).toString("base64")}`, id: "msg_2" });
    await fetch(bellhop.url, { method: "POST" });
    const health = await bellhop.json<HealthJson>("/api/health");
    expect(health.deliveries.reduce((sum, count) => sum + count)).toBe(1);
    expect(health.p50.filter((median) => median !== null)).toHaveLength(1);
    expect(health).toMatchObject({ writable: true });
    const refused = await bellhop.json<RefusedJson>("/api/refused");
    expect(refused.counts).toEqual({ no_match: 1, missing_headers: 1 });
    expect(refused.latest.map(({ code, claimedId }) => [code, claimedId])).toEqual([
      ["missing_headers", null],
      ["no_match", "msg_2"],
    ]);
    expect(refused.explanations.no_match?.remedy).toContain("CLERK_WEBHOOK_SIGNING_SECRET");
  });

  test("shows the last hour, day and two weeks, and what is not done now", async () => {
    await using bellhop = await inspected({ "user.created.ts": FAILS });
    await bellhop.post(sample("user.created"), { id: "msg_1" });
    const dayWith = () => bellhop.json<HealthJson>("/api/health?window=24h");
    const day = await until("a run that is retried", async () => {
      const found = await dayWith();
      return found.runs.retrying === 1 && found.failures.at(-1) === 1 ? found : undefined;
    });
    expect(day).toMatchObject({ step: 900_000, runs: { waiting: 0, retrying: 1, running: 0, parked: 0, dead: 0 } });
    expect(day.deliveries).toHaveLength(96);
    expect(day.lastDelivery).toBeGreaterThan(day.since);
    expect((await bellhop.json<HealthJson>("/api/health?window=14d")).deliveries).toHaveLength(336);
    expect((await bellhop.get("/api/health?window=1y")).status).toBe(422);
  });

  test("shows how long the oldest run has waited, without retries", async () => {
    const files = { "user.created.ts": "export default () => Bun.sleep(3_000);", "user.updated.ts": FAILS };
    await using bellhop = await inspected(files);
    await bellhop.post(sample("user.updated"), { id: "msg_0" });
    await until(
      "the failure",
      async () => (await bellhop.json<HandlerJson[]>("/api/handlers")).some(({ failed }) => failed > 0) || undefined,
    );
    const age = async () => (await bellhop.json<HealthJson>("/api/health")).queueAge.at(-1) ?? 0;
    await Bun.sleep(300);
    expect(await age()).toBeLessThan(300);
    for (let n = 1; n <= 150; n += 1) await bellhop.post(sample("user.created"));
    await Bun.sleep(1_000);
    expect(await age()).toBeGreaterThan(990);
  });
});

describe("deliveries", () => {
  test("a run is retried early, given up and replayed", async () => {
    await using bellhop = await inspected({ "user.created.ts": FAILS });
    await bellhop.post(sample("user.created"), { id: "msg_1" });
    const runAfter = (attempts: number) =>
      until(`${attempts} attempts`, async () => {
        const { runs } = await bellhop.json<DeliveryJson>("/api/deliveries/msg_1");
        return runs[0]?.attempts.length === attempts && runs[0].state === "waiting" ? runs[0] : undefined;
      });
    const { run } = await runAfter(1);
    expect(await (await bellhop.write(`/api/runs/${run}/retry`)).json()).toEqual({ done: true });
    await runAfter(2);
    expect(await (await bellhop.write(`/api/runs/${run}/give-up`)).json()).toEqual({ done: true });
    expect(await (await bellhop.write(`/api/runs/${run}/give-up`)).json()).toEqual({ done: false });
    expect((await bellhop.json<DeliveryJson>("/api/deliveries/msg_1")).runs[0]).toMatchObject({
      state: "dead",
      reason: "given up by hand",
    });
    const replayed = await bellhop.write("/api/deliveries/msg_1/replay");
    expect(await replayed.json()).toMatchObject({ handlers: ["user.created"] });
    expect((await bellhop.json<DeliveryJson>("/api/deliveries/msg_1")).runs).toHaveLength(2);
    expect(await bellhop.json("/api/replays?state=dead")).toMatchObject({ found: expect.any(Number) });
  });

  test("search finds payloads, ids and subjects in any case, and continues where it stopped", async () => {
    await using bellhop = await inspected();
    const rare = "Ænne-Hoëk";
    for (let n = 0; n < 30; n += 1) {
      const first_name = n % 10 === 3 ? rare : "Ada";
      await bellhop.post(sample("user.created", { overrides: { data: { first_name } } }), { id: `msg_${n}` });
    }
    const ids = async (query: string) => {
      const found = await bellhop.json<SearchJson>(`/api/search?${query}`);
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
    expect((await bellhop.get("/api/search")).status).toBe(422);
  });

  test("a list continues page by page while new deliveries arrive", async () => {
    await using bellhop = await inspected();
    for (let n = 0; n < 25; n += 1) await bellhop.post(sample("user.created"), { id: `msg_${n}` });
    const seen: string[] = [];
    let before: number | null = null;
    do {
      const page: DeliveryList = await bellhop.json(
        `/api/deliveries?limit=10${before === null ? "" : `&before=${before}`}`,
      );
      seen.push(...page.deliveries.map(({ id }) => id));
      before = page.next;
      await bellhop.post(sample("user.created"));
    } while (before !== null);
    expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => `msg_${24 - n}`));
  });

  test("the feed reports a delivery and the end of its run", async () => {
    await using bellhop = await inspected({ "user.created.ts": "export default () => {};" });
    const response = await bellhop.get("/api/feed");
    expect(response.headers.get("cache-control")).toBe("no-store");
    let text = "";
    const read = (async () => {
      for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>)
        text += new TextDecoder().decode(bytes);
    })().catch(() => undefined);
    const id = messageId(Date.now());
    await bellhop.post(sample("user.created"), { id });
    await until("the end of the run", () => (text.includes(id) && text.includes('"state":"done"')) || undefined);
    await bellhop.stop();
    await read;
  });
});

describe("payloads", () => {
  test("private metadata is redacted unless the request asks to reveal it", async () => {
    await using bellhop = await inspected();
    const event = sample("user.created", { overrides: { data: { private_metadata: { plan: "gold" } } } });
    await bellhop.post(event, { id: "msg_1" });
    const hidden = await bellhop.json<DeliveryJson>("/api/deliveries/msg_1?payload=true");
    expect(hidden.payload).not.toContain("gold");
    expect(hidden.hidden).toEqual(["data.private_metadata"]);
    const shown = await bellhop.json<DeliveryJson>("/api/deliveries/msg_1?payload=true&reveal=true");
    expect(shown).toMatchObject({ payload: JSON.stringify(event), hidden: [] });
    expect(await bellhop.json<DeliveryJson>("/api/deliveries/msg_1?reveal=true")).not.toHaveProperty("payload");
  });

  test("a payload with scripts is sent as JSON, with headers that keep browsers from running it", async () => {
    await using bellhop = await inspected();
    const script = '<script>alert(1)</script><img src=x onerror="alert(2)">';
    await bellhop.post(sample("user.created", { overrides: { data: { first_name: script } } }), { id: "msg_1" });
    for (const path of [
      "/api/deliveries/msg_1?payload=true",
      "/api/search?text=script",
      `/api/${encodeURIComponent(script)}`,
    ]) {
      const { headers } = await bellhop.get(path);
      expect(headers.get("content-type")).toStartWith("application/json");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("content-security-policy")).not.toContain("unsafe");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});
