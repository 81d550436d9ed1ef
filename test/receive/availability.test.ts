// The public port while the inbox fails or the server stops: /health, and the answers to deliveries.

import { describe, expect, test } from "bun:test";

import { InboxUnavailable } from "../../src/errors.ts";
import { post, rawConnection, rawExchange, rawRequest, serverWith, signed, until } from "../harness.ts";
import { EVENT, webhookServerWith } from "./webhook-server.ts";

describe("/health", () => {
  test("answers 200 to GET and HEAD", async () => {
    await using server = await serverWith({});
    const url = new URL("/health", server.url);
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('{"status":"ok"}');
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  test("answers 503 while the inbox can't be written", async () => {
    let writable = false;
    await using server = webhookServerWith({
      get writable() {
        return writable;
      },
    });
    const response = await fetch(`${server.origin}/health`);
    expect([response.status, await response.text()]).toEqual([503, '{"status":"unavailable"}']);
    expect((await fetch(`${server.origin}/health`, { method: "HEAD" })).status).toBe(503);
    writable = true;
    expect((await fetch(`${server.origin}/health`)).status).toBe(200);
  });
});

describe("while the server stops", () => {
  test("requests in flight are answered, and other requests get 503", async () => {
    const stored = Promise.withResolvers<{ status: "accepted" }>();
    let accepting = 0;
    const accept = () => {
      accepting += 1;
      return stored.promise;
    };
    await using server = webhookServerWith({ accept });
    const good = rawRequest("POST", "/api/webhooks", signed(EVENT, { id: "msg_1" }), EVENT);
    const late = rawRequest("POST", "/api/webhooks", signed(EVENT, { id: "msg_2" }), EVENT);
    const health = rawRequest("GET", "/health");
    using first = await rawConnection(server.port);
    using second = await rawConnection(server.port);
    using third = await rawConnection(server.port);
    first.write(good);
    second.write(late.subarray(0, 100));
    third.write(health.subarray(0, 10));
    await until("the first delivery to be stored", () => accepting === 1 || undefined);
    // A server that has answered a later request has read the beginnings of the other two.
    await fetch(`${server.origin}/health`, { keepalive: false });

    let stopped = false;
    const stopping = server.stop().then(() => (stopped = true));
    second.write(late.subarray(100));
    third.write(health.subarray(10));
    expect(await second.answer()).toEqual({ status: 503, body: '{"error":"shutting_down"}' });
    expect(second.received()).toMatch(/^retry-after: \d+\r$/im);
    expect(await third.answer()).toEqual({ status: 503, body: '{"status":"shutting_down"}' });
    expect(server.refused).toMatchObject([{ refused: { code: "shutting_down", claimedId: "msg_2" } }]);
    expect((await fetch(`${server.origin}/health`)).status).toBe(503);
    expect(stopped).toBe(false);

    stored.resolve({ status: "accepted" });
    expect(await first.answer()).toEqual({ status: 200, body: '{"id":"msg_1","status":"accepted"}' });
    await stopping;
    expect(accepting).toBe(1);
  });
});

describe("when the inbox fails", () => {
  test("because it can't write, the answer is 503 with Retry-After until it can write again", async () => {
    let isFull = true;
    await using server = webhookServerWith({
      accept: async () => {
        if (isFull) throw new InboxUnavailable(new Error("database or disk is full"));
        return { status: "accepted" };
      },
    });
    const response = await post(server.url, EVENT, { id: "msg_1" });
    expect(response.status).toBe(503);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await response.text()).toBe('{"error":"unavailable"}');
    expect(server.refused).toMatchObject([{ refused: { code: "unavailable", claimedId: "msg_1" }, count: 1 }]);
    expect(server.errors).toEqual([]);
    isFull = false;
    expect((await post(server.url, EVENT, { id: "msg_1" })).status).toBe(200);
  });

  test("with an unexpected error, the answer is 500 without the error's message", async () => {
    const error = new TypeError("undefined is not an object (evaluating '/srv/app/secret.db')");
    await using server = webhookServerWith({ accept: () => Promise.reject(error) });
    for (const host of ["localhost", "x", ""])
      for (const path of ["/api/webhooks", "/api/webhooks/"]) {
        // A slash or a short host make Elysia route the request differently.
        const request = rawRequest("POST", path, { ...signed(EVENT), host }, EVENT);
        const answer = await rawExchange(server.port, request);
        expect({ host, path, ...answer }).toEqual({ host, path, status: 500, body: '{"error":"internal"}' });
      }
    expect(server.errors).toEqual(Array.from({ length: 6 }, () => error));
  });
});
