// The port of the inspector lets an agent in by the token alone, and by the inspector's other rules.

import { expect, test } from "bun:test";

import { inspected, TOKEN, tokenIn } from "../inspector/inspected.ts";
import { connectMcp } from "./client.ts";

const PING = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });

function send(at: string, headers: Record<string, string>, method = "POST") {
  const base = { "content-type": "application/json", accept: "application/json, text/event-stream" };
  return fetch(`${at}/mcp`, { method, headers: { ...base, ...headers }, ...(method === "POST" && { body: PING }) });
}

test("a request needs the token in its header; a cookie is not enough", async () => {
  await using inspector = await inspected({}, TOKEN);
  await inspector.signIn();
  const none = await send(inspector.at, inspector.cookie);
  expect([none.status, none.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
  expect((await send(inspector.at, { authorization: "Bearer wrong-token" })).status).toBe(401);
  expect((await send(inspector.at, { authorization: `Basic ${TOKEN}` })).status).toBe(401);
  expect((await send(inspector.at, { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
  expect((await send(inspector.at, { authorization: `Bearer ${TOKEN}` }, "GET")).status).toBe(405);
  expect((await send(inspector.at, { authorization: `Bearer ${TOKEN}` }, "DELETE")).status).toBe(405);
});

test("wrong tokens are limited together with those of the page", async () => {
  await using inspector = await inspected({}, TOKEN);
  const answers = await Promise.all(
    Array.from({ length: 11 }, () => send(inspector.at, { authorization: "Bearer wrong-token" })),
  );
  const limited = answers.filter(({ status }) => status === 429);
  expect([answers.length, limited.length]).toEqual([11, 1]);
  expect((await send(inspector.at, { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
}, 20_000);

test("another site can't use a browser of this machine, even with the token", async () => {
  await using inspector = await inspected({}, TOKEN);
  const authorization = `Bearer ${TOKEN}`;
  const answers = [
    await send(inspector.at, { authorization, origin: "https://evil.example" }),
    await send(inspector.at, { authorization, "sec-fetch-site": "cross-site" }),
    await send(inspector.at, { authorization, "content-type": "text/plain" }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([403, 403, 415]);
});

test("without INSPECTOR_TOKEN, only this machine is accepted, with the token of this start", async () => {
  await using inspector = await inspected({ "user.created.ts": "export default () => {};" });
  const token = tokenIn(inspector.inspectorLink);
  const authorization = `Bearer ${token}`;
  expect((await send(inspector.at, { authorization, "x-forwarded-for": "203.0.113.1" })).status).toBe(403);
  expect((await send(inspector.at, { authorization, host: "bellhop.example" })).status).toBe(403);
  await using agent = await connectMcp(inspector.at, token);
  expect((await agent.call("list_handlers")).text).toContain("user.created.ts");
});

test("the public port has no /mcp", async () => {
  await using inspector = await inspected({}, TOKEN);
  const answer = await send(`http://127.0.0.1:${inspector.port}`, { authorization: `Bearer ${TOKEN}` });
  expect(answer.status).toBe(404);
});
