// A change of the watched handlers folder must not end the server.

import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { post, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

test("the server survives a handlers folder that becomes a circular link, a file or nothing, and watches it again later", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "handlers");
  await writeHandlers(folder.path, { "user.created.ts": "export default () => {}" });
  await using server = await spawnServer(folder.path, { mode: "dev" });
  const moved = `${path}.moved`;
  renameSync(path, moved);
  for (const replace of [
    () => symlinkSync("handlers", path),
    () => writeFileSync(path, "not a folder"),
    () => undefined,
  ]) {
    replace();
    await Bun.sleep(2_200);
    expect(server.process.exitCode).toBeNull();
    expect((await post(server.url, sample("user.created"))).status).toBe(200);
    rmSync(path, { force: true });
  }
  mkdirSync(path);
  await writeHandlers(folder.path, { "user.deleted.ts": "export default () => {}" });
  await until("the new handler", () => server.output().includes("user.deleted.ts is live") || undefined, 6_000);
}, 30_000);
