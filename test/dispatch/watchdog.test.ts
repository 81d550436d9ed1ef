import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { post, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

const BLOCKS = "const end = Date.now() + 1500; while (Date.now() < end) {}";

for (const mode of ["dev", "start"] as const)
  test.concurrent(
    `a handler that blocks the thread is named while it does, in bun ${mode}`,
    async () => {
      await using folder = await temporaryFolder();
      await writeHandlers(folder.path, {
        "user.created.ts": `export default () => { ${BLOCKS} };`,
        "user.deleted.ts": `export default async () => { await Bun.sleep(20); ${BLOCKS} };`,
        "user.updated.ts": `export default () => Bun.sleep(1_300);`,
      });
      const env = { LOG_FORMAT: mode === "dev" ? "pretty" : "json" };
      await using server = await spawnServer(folder.path, { mode, env });
      const said = (text: string) => until(text, () => server.output().includes(text) || undefined);

      await post(server.url, sample("user.created"), { id: "msg_1" });
      await said("user.created has blocked the thread for a second");
      expect(server.output()).not.toContain("user.created done");
      await said("the thread is free again");
      await server.ended("msg_1");

      await post(server.url, sample("user.deleted"), { id: "msg_2" });
      await said("user.deleted has blocked the thread for a second");
      await server.ended("msg_2");

      await post(server.url, sample("user.updated"), { id: "msg_3" });
      await server.ended("msg_3");
      expect(server.output()).not.toContain("user.updated has blocked");
    },
    15_000,
  );
