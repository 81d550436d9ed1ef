import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { post, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

// Blocks until the test removes the file. The test first reads the log line, which was therefore written during the block.
const BLOCKS = `while (existsSync("blocked")) {}`;

for (const mode of ["dev", "start"] as const)
  test.concurrent(
    `a handler that blocks the thread is logged during the block, in bun ${mode}`,
    async () => {
      await using folder = await temporaryFolder();
      await writeHandlers(folder.path, {
        "user.created.ts": `import { existsSync } from "node:fs";
export default () => { ${BLOCKS} };`,
        "user.deleted.ts": `import { existsSync } from "node:fs";
export default async () => { await Bun.sleep(20); ${BLOCKS} };`,
        "user.updated.ts": `export default () => Bun.sleep(1_300);`,
      });
      const env = { LOG_FORMAT: mode === "dev" ? "pretty" : "json" };
      await using server = await spawnServer(folder.path, { mode, env });
      const logged = (text: string) => until(text, () => server.output().includes(text) || undefined, 20_000);
      const blocked = join(folder.path, "blocked");

      await Bun.write(blocked, "");
      await post(server.url, sample("user.created"), { id: "msg_1" });
      await logged("user.created has blocked the thread for a second");
      expect(server.output()).not.toMatch(/user\.created done|✓ user\.created/);
      await rm(blocked);
      await logged("the thread is free again");
      await server.ended("msg_1");

      await Bun.write(blocked, "");
      await post(server.url, sample("user.deleted"), { id: "msg_2" });
      await logged("user.deleted has blocked the thread for a second");
      await rm(blocked);
      await server.ended("msg_2");

      await post(server.url, sample("user.updated"), { id: "msg_3" });
      await server.ended("msg_3");
      expect(server.output()).not.toContain("user.updated has blocked");
    },
    60_000,
  );

test("logs no name when several handlers could block the thread", async () => {
  const script = `import { createWatchdog } from "./src/dispatch/watchdog.ts";
    const watchdog = createWatchdog({ logFormat: "json", logLevel: "info", blockedSeconds: 0 });
    for (let number = 0; number < 1_002; number += 1) watchdog.running("handler_" + number)();
    watchdog.running("handler_1000");
    // The worker must receive the names first.
    await Bun.sleep(1_000);
    watchdog.enter("handler_1000", () => Bun.sleepSync(3_000));
    process.exit(0);`;
  const child = Bun.spawn([process.execPath, "-e", script], { cwd: join(import.meta.dir, "../.."), stdout: "pipe" });
  const output = await new Response(child.stdout).text();
  expect(output).toContain("one of many handlers has blocked the thread");
  expect(output).not.toContain("handler_");
}, 60_000);

test.concurrent.each([
  [0, / kill -9 \d+, which loses/],
  [60, /After 60 s \(BLOCKED_SECONDS\), this process ends/],
])(
  "a thread that stays blocked is an error with the way out, logged once (limit: %d s)",
  async (limit, way) => {
    const script = `import { createWatchdog } from "./src/dispatch/watchdog.ts";
    const watchdog = createWatchdog({ logFormat: "json", logLevel: "error", blockedSeconds: ${limit}, stuckMs: 1_500 });
    watchdog.running("user.created");
    // The worker must receive the name first.
    await Bun.sleep(1_000);
    watchdog.enter("user.created", () => Bun.sleepSync(4_000));
    process.exit(0);`;
    const child = Bun.spawn([process.execPath, "-e", script], { cwd: join(import.meta.dir, "../.."), stdout: "pipe" });
    const output = await new Response(child.stdout).text();
    // LOG_LEVEL=error has no warnings.
    const lines = output.trim().split("\n");
    expect(lines).toEqual([
      expect.stringMatching(/user\.created has blocked the thread for \d s: no delivery is stored/),
    ]);
    expect(lines[0]).toMatch(way);
  },
  60_000,
);

test("logs no blocked thread with LOG_LEVEL=silent", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => Bun.sleepSync(2_000);" });
  await using server = await spawnServer(folder.path, { env: { LOG_LEVEL: "silent" } });
  await post(server.url, sample("user.created"), { id: "msg_1" });
  await server.ended("msg_1");
  expect(server.output()).toBe("");
}, 60_000);
