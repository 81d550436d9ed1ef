// The `.env` files that a server reads in production.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join, resolve } from "node:path";

import { scripts } from "../../package.json";
import { folderWithHandlers, spawnServer, temporaryFolder, until } from "../harness.ts";

setDefaultTimeout(20_000);

const ROOT = resolve(import.meta.dir, "../..");

test("bun start reads .env.production, not .env.development, and the shell takes precedence", async () => {
  await using folder = await folderWithHandlers();
  const start = scripts.start.replace("src/main.ts", join(ROOT, "src/main.ts"));
  await Bun.write(join(folder.path, "package.json"), JSON.stringify({ scripts: { start } }));
  await Bun.write(join(folder.path, ".env"), "RETENTION_DAYS=base\nPORT=base\n");
  await Bun.write(join(folder.path, ".env.development"), "PORT=dev\n");
  await Bun.write(join(folder.path, ".env.production"), "PORT=prod\nCONCURRENCY=prod\n");
  const child = Bun.spawn([process.execPath, "run", "start"], {
    cwd: folder.path,
    env: { PATH: process.env.PATH, HOME: folder.path, CONCURRENCY: "shell" },
    stderr: "pipe",
    stdout: "ignore",
  });
  const stderr = await new Response(child.stderr).text();
  expect(await child.exited).toBe(78);
  for (const line of ['PORT is "prod"', 'RETENTION_DAYS is "base"', 'CONCURRENCY is "shell"'])
    expect(stderr).toContain(line);
});

test("a start without NODE_ENV warns that Bun has read .env.development", async () => {
  await using folder = await temporaryFolder();
  await Bun.write(join(folder.path, ".env.development"), "OTHER=1\n");
  await using server = await spawnServer(folder.path);
  await until("the warning", () => server.output().includes("Bun has read .env.development"));
});
