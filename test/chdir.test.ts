// A handler, or a library that it uses, may change the working directory; Bellhop's files stay where they are.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { post, spawnServer, temporaryFolder, until, writeHandlers } from "./harness.ts";

setDefaultTimeout(20_000);

const event = (type: string, id: string) => ({ type, object: "event", data: { id, object: "user" } });
const RELATIVE = { DATA_DIR: "data", HANDLERS_DIR: "handlers" };

test("process.chdir() in a handler moves neither the data nor the handlers directory", async () => {
  await using folder = await temporaryFolder();
  const elsewhere = join(folder.path, "elsewhere");
  // The socket of a server of another project.
  await mkdir(join(elsewhere, "data"), { recursive: true });
  await Bun.write(join(elsewhere, "data", "bellhop.sock"), "another server's");
  await writeHandlers(folder.path, {
    "user.created.ts": `export default () => process.chdir(${JSON.stringify(elsewhere)});`,
    "user.updated.ts": `export default async ({ db }) => { await db\`select 1\`; };`,
  });
  {
    await using server = await spawnServer(folder.path, { mode: "dev", env: RELATIVE });
    await post(server.url, event("user.created", "user_1"), { id: "msg_1" });
    await server.ended("msg_1");
    // A handler file that is added later is still found.
    await writeHandlers(folder.path, { "user.deleted.ts": `export default () => {};` });
    await until("the new handler", () => server.output().includes("user.deleted.ts is live"), 10_000);
    for (const [type, id] of [
      ["user.updated", "msg_2"],
      ["user.deleted", "msg_3"],
    ] as const) {
      expect((await post(server.url, event(type, "user_1"), { id })).status).toBe(200);
      expect((await server.ended(id)).runs).toMatchObject([{ handler: type, state: "done" }]);
    }
    expect(server.output()).not.toContain("is gone");
    server.process.kill("SIGTERM");
    expect(await server.process.exited).toBe(0);
  }
  expect(existsSync(join(elsewhere, "data", "inbox.db"))).toBe(false);
  expect(existsSync(join(elsewhere, "data", "bellhop.sock"))).toBe(true);
  await using next = await spawnServer(folder.path, { env: RELATIVE });
  expect(await next.get("msg_3")).toMatchObject({ id: "msg_3" });
});
