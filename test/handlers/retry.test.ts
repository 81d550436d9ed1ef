// `bun start` loads each file once, and retries files that failed to load.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { openHandlers } from "../../src/handlers/folder.ts";
import { serverWith, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { describeChange, returning } from "./living.ts";

const NEEDS = `
  import { readFileSync } from "node:fs";
  const text = readFileSync(import.meta.dir + "/../config.txt", "utf8");
  export default () => text;`;

test("loads a file again whose import failed, and leaves the others unchanged", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "handlers");
  await writeHandlers(folder.path, {
    "user.created.ts": NEEDS,
    "user.updated.ts": "export default (1 +;",
    "user.deleted.ts": returning("old"),
    "_dead.ts": NEEDS,
  });
  const handlers = await openHandlers(dir, () => undefined);
  const reports: string[][] = [];
  handlers.retryFailed((changes) => reports.push(changes.map(describeChange)), 10);
  const call = (name: string): unknown => (handlers.table.get(name)?.code?.run as (() => unknown) | undefined)?.();
  try {
    expect([...handlers.table.loaded]).toEqual(["user.deleted"]);
    await Bun.write(join(dir, "user.deleted.ts"), returning("new"));
    await Bun.sleep(50);
    expect(reports).toEqual([]);
    await Bun.write(join(folder.path, "config.txt"), "available");
    // The file may appear between the imports of one pass, which is then two.
    await until("both files to be live", () => reports.flat().length >= 2);
    expect(reports.flat().toSorted()).toEqual(["dead _dead.ts live", "new user.created.ts"]);
    expect(call("user.created")).toBe("available");
    expect(call("user.deleted")).toBe("old");
    expect(handlers.table.get("user.updated")?.error?.message).toBeString();
    expect(handlers.table.dead?.error).toBeUndefined();
    await Bun.write(join(dir, "user.updated.ts"), returning("fixed"));
    await until("the last file to be live", () => call("user.updated"));
    // A report follows the change of the table.
    await until("its report", () => reports.flat().length >= 3);
    expect(reports.flat()).toHaveLength(3);
  } finally {
    handlers.close();
  }
});

test("in bun start, runs wait until their file loads, and then run", async () => {
  await using server = await serverWith({ "user.created.ts": NEEDS });
  await server.post({ type: "user.created", object: "event", data: { id: "user_1", object: "user" } }, { id: "msg_1" });
  expect((await server.get("msg_1"))?.runs).toMatchObject([{ state: "waiting", parked: true }]);
  await Bun.write(join(server.folder, "config.txt"), "available");
  expect((await server.ended("msg_1", 15_000)).runs).toMatchObject([{ state: "done" }]);
}, 20_000);
