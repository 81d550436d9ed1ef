// Objects that handlers keep on `globalThis` across saves, as Prisma, Mongoose and Next advise for development.

import { afterEach, expect, test } from "bun:test";

import { living } from "./living.ts";

const keys = ["bellhopClient", "bellhopCache", "bellhopLast"];
afterEach(() => {
  for (const key of keys) delete (globalThis as Record<string, unknown>)[key];
});

/** A client with a server of its own, and a part that it imports when it is first used. */
const CLIENT = `
  const made = () => {
    const server = Bun.serve({ port: 0, fetch: () => new Response("pong") });
    return { ping: async () => (await import("./_lazy.ts")).lazy + await (await fetch(server.url)).text() };
  };`;
const LAZY = `export const lazy = "lazy ";`;

test("a client that is made once works after many saves, also where it is made at the first call", async () => {
  const atLoad = (n: number) => `${CLIENT}
    globalThis.bellhopClient ??= made();
    export default async () => ${n} + await globalThis.bellhopClient.ping();`;
  const atCall = (n: number) => `${CLIENT}
    const cache = (globalThis.bellhopCache ??= { client: null });
    export default async () => { cache.client ??= made(); return ${n} + await cache.client.ping(); };`;
  await using it = await living(
    { "_lazy.ts": LAZY, "user.created.ts": atLoad(0), "user.updated.ts": atCall(0) },
    { follow: false },
  );
  for (let n = 1; n < 5; n += 1) {
    await it.write("user.created.ts", atLoad(n));
    await it.write("user.updated.ts", atCall(n));
    await it.folder.look();
    expect(await it.call("user.created")).toBe(`${n}lazy pong`);
    // Made by the second version only.
    if (n > 1) expect(await it.call("user.updated")).toBe(`${n}lazy pong`);
  }
});

test("a version whose global was replaced is disposed of", async () => {
  const ticking = (n: number) => `
    globalThis.bellhopLast = { n: ${n} };
    const ticks = (globalThis.bellhopCache ??= new Map());
    setInterval(() => ticks.set(${n}, (ticks.get(${n}) ?? 0) + 1), 5);
    export default () => { globalThis.bellhopLast = { run: ${n} }; };`;
  // The map belongs to the test, and keeps nobody alive.
  const ticks = new Map<number, number>();
  Object.assign(globalThis, { bellhopCache: ticks });
  await using it = await living({ "user.created.ts": ticking(0) }, { follow: false });
  for (let n = 1; n < 6; n += 1) {
    it.call("user.created");
    await it.write("user.created.ts", ticking(n));
    await it.folder.look();
  }
  await Bun.sleep(30);
  ticks.clear();
  await Bun.sleep(60);
  // The newest, and at most the one whose object was the last to be replaced.
  expect([...ticks.keys()].filter((n) => n < 4)).toEqual([]);
  expect(ticks.get(5)).toBeGreaterThan(2);
});
