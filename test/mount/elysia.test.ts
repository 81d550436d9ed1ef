import { expect, test } from "bun:test";
import { join } from "node:path";

import { Elysia } from "elysia";

import { sample } from "../../src/clerk/samples.ts";
import { bellhop } from "../../src/mount/elysia.ts";
import { folderWithHandlers, post, SECRET, signed } from "../harness.ts";

test("the plugin answers deliveries, leaves the application's routes alone, and stops with it", async () => {
  await using folder = await folderWithHandlers();
  const plugin = await bellhop({
    clerkWebhookSigningSecret: SECRET,
    handlersDir: join(folder.path, "handlers"),
    dataDir: join(folder.path, "data"),
    logLevel: "silent",
    dev: false,
  });
  const seen: string[] = [];
  const app = new Elysia()
    .onError(({ code }) => `the application's answer to ${code}`)
    .onParse(({ request }) => {
      seen.push(new URL(request.url).pathname);
    })
    .use(plugin)
    // Named and seeded: used twice, it is there once.
    .use(plugin)
    .post("/orders", ({ body }) => body)
    .get("/broken", () => {
      throw new Error("broken");
    })
    .listen({ port: 0, hostname: "127.0.0.1" });
  const url = `http://127.0.0.1:${app.server!.port}`;
  expect(await (await post(`${url}/api/webhooks`, sample("user.created"), { id: "msg_1" })).json()).toEqual({
    id: "msg_1",
    status: "accepted",
  });
  expect((await fetch(`${url}/api/webhooks`)).status).toBe(405);
  const json = { method: "POST", body: '{"a":1}', headers: { "content-type": "application/json" } };
  expect(await (await fetch(`${url}/orders`, json)).json()).toEqual({ a: 1 });
  expect(await (await fetch(`${url}/broken`)).text()).toBe("the application's answer to UNKNOWN");
  expect(await (await fetch(`${url}/none`)).text()).toBe("the application's answer to NOT_FOUND");
  expect(seen).toContain("/orders");
  expect(plugin.config).toMatchObject({ name: "bellhop" });
  await app.stop();
  const body = JSON.stringify(sample("user.created"));
  const late = new Request(`${url}/api/webhooks`, { method: "POST", body, headers: signed(body) });
  expect((await plugin.fetch(late)).status).toBe(503);
});
