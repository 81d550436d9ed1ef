// Objects that handlers keep on `globalThis` across reloads, as Prisma, Mongoose and Next recommend for development.

import { afterEach, expect, test } from "bun:test";

import { until } from "../harness.ts";
import { liveFolder } from "./living.ts";

const keys = ["bellhopClient", "bellhopCache", "bellhopLast"];
afterEach(() => {
  for (const key of keys) delete (globalThis as Record<string, unknown>)[key];
});

/** A client with its own server and a module that it imports at its first use. */
const CLIENT = `
  const createClient = () => {
    const server = Bun.serve({ port: 0, fetch: () => new Response("pong") });
    return { ping: async () => (await import("./_lazy.ts")).lazy + await (await fetch(server.url)).text() };
  };`;
const LAZY = `export const lazy = "lazy ";`;

test("a client that is created once works after many reloads, also when it is created by the first call", async () => {
  const atLoad = (n: number) => `${CLIENT}
    globalThis.bellhopClient ??= createClient();
    export default async () => ${n} + await globalThis.bellhopClient.ping();`;
  const atCall = (n: number) => `${CLIENT}
    const cache = (globalThis.bellhopCache ??= { client: null });
    export default async () => { cache.client ??= createClient(); return ${n} + await cache.client.ping(); };`;
  await using handlers = await liveFolder(
    { "_lazy.ts": LAZY, "user.created.ts": atLoad(0), "user.updated.ts": atCall(0) },
    { follow: false },
  );
  for (let n = 1; n < 5; n += 1) {
    await handlers.write("user.created.ts", atLoad(n));
    await handlers.write("user.updated.ts", atCall(n));
    await handlers.folder.look();
    expect(await handlers.call("user.created")).toBe(`${n}lazy pong`);
    // The second version creates it.
    if (n > 1) expect(await handlers.call("user.updated")).toBe(`${n}lazy pong`);
  }
});

test("disposes a version whose global was replaced", async () => {
  const ticking = (n: number) => `
    globalThis.bellhopLast = { n: ${n} };
    const ticks = (globalThis.bellhopCache ??= new Map());
    setInterval(() => ticks.set(${n}, (ticks.get(${n}) ?? 0) + 1), 5);
    export default () => { globalThis.bellhopLast = { run: ${n} }; };`;
  // The map belongs to the test, and keeps no version alive.
  const ticks = new Map<number, number>();
  Object.assign(globalThis, { bellhopCache: ticks });
  await using handlers = await liveFolder({ "user.created.ts": ticking(0) }, { follow: false });
  for (let n = 1; n < 6; n += 1) {
    handlers.call("user.created");
    await handlers.write("user.created.ts", ticking(n));
    await handlers.folder.look();
  }
  await Bun.sleep(30);
  ticks.clear();
  await until("the newest version to tick", () => (ticks.get(5) ?? 0) > 2);
  // Only the newest version and the one whose object was replaced last may still run.
  expect([...ticks.keys()].filter((n) => n < 4)).toEqual([]);
});
