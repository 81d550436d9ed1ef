import { expect, test } from "bun:test";

import { costOfACall, reload } from "../bench/reload.ts";
import { liveFolder } from "./living.ts";

test("50 reloads under load lose no delivery and run none twice", async () => {
  const { accepted, lost, twice } = await reload(50);
  expect(accepted).toBeGreaterThan(50);
  expect({ lost, twice }).toEqual({ lost: [], twice: [] });
}, 60_000);

test("entering the module graph of a version costs less than 50 µs per run", async () => {
  const { graph } = await costOfACall(20_000);
  expect(graph).toBeLessThan(50);
});

test("memory of a version is freed with it", async () => {
  await using handlers = await liveFolder({}, { follow: false });
  const reload = async (n: number) => {
    await handlers.write(
      "user.created.ts",
      `const held = new Uint8Array(1_000_000).fill(${n % 200}); export default () => held.length;`,
    );
    await handlers.folder.look();
    expect(handlers.call("user.created")).toBe(1_000_000);
  };
  for (let n = 0; n < 20; n += 1) await reload(n);
  Bun.gc(true);
  const before = process.memoryUsage().rss;
  for (let n = 20; n < 170; n += 1) await reload(n);
  Bun.gc(true);
  // Each version that is not freed holds one megabyte.
  expect((process.memoryUsage().rss - before) / 1_000_000).toBeLessThan(60);
}, 20_000);
