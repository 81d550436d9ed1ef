// `bun start` loads its files once, and those that failed again.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { openHandlers } from "../../src/handlers/folder.ts";
import { serverWith, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { answers, describeChange } from "./living.ts";

const NEEDS = `
  import { readFileSync } from "node:fs";
  const text = readFileSync(import.meta.dir + "/../config.txt", "utf8");
  export default () => text;`;

test("a file whose import failed is loaded again, and the others stay as they are", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "handlers");
  await writeHandlers(folder.path, {
    "user.created.ts": NEEDS,
    "user.updated.ts": "export default (1 +;",
    "user.deleted.ts": answers("old"),
    "_dead.ts": NEEDS,
  });
  const handlers = await openHandlers(dir, () => undefined);
  const told: string[][] = [];
  handlers.retryFailed((changes) => told.push(changes.map(describeChange)), 10);
  const call = (name: string): unknown => (handlers.table.get(name)?.code?.run as (() => unknown) | undefined)?.();
  try {
    expect([...handlers.table.loaded]).toEqual(["user.deleted"]);
    await Bun.write(join(dir, "user.deleted.ts"), answers("new"));
    await Bun.sleep(50);
    expect(told).toEqual([]);
    await Bun.write(join(folder.path, "config.txt"), "there now");
    await until("it to be live", () => told[0]);
    expect(told).toEqual([["new user.created.ts", "dead _dead.ts live"]]);
    expect(call("user.created")).toBe("there now");
    expect(call("user.deleted")).toBe("old");
    expect(handlers.table.get("user.updated")?.error?.message).toBeString();
    expect(handlers.table.dead?.error).toBeUndefined();
    await Bun.write(join(dir, "user.updated.ts"), answers("mended"));
    await until("the last one to be live", () => call("user.updated"));
    expect(told).toHaveLength(2);
  } finally {
    handlers.close();
  }
});

test("in bun start, runs wait for a file that does not load yet, and are done when it does", async () => {
  await using server = await serverWith({ "user.created.ts": NEEDS });
  await server.post({ type: "user.created", object: "event", data: { id: "user_1", object: "user" } }, { id: "msg_1" });
  expect((await server.get("msg_1"))?.runs).toMatchObject([{ state: "waiting", parked: true }]);
  await Bun.write(join(server.folder, "config.txt"), "there now");
  expect((await server.ended("msg_1", 15_000)).runs).toMatchObject([{ state: "done" }]);
}, 20_000);
