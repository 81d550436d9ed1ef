// The handlers folder while it is watched: after any change by an editor, the table equals the folder, and each change is
// reported once.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import type { Handler } from "../../src/handlers/loader.ts";
import { until } from "../harness.ts";
import { liveFolder, returning } from "./living.ts";

// The machine may be slow, because other processes use it too.
setDefaultTimeout(20_000);

const EDITS = ["first", "second", "third"];

/** The milliseconds of the fastest edit. Polling alone finds a change after one second on average. */
async function shortest(edit: (value: string) => Promise<void>): Promise<number> {
  const took: number[] = [];
  for (const value of EDITS) {
    const began = performance.now();
    await edit(value);
    took.push(performance.now() - began);
  }
  return Math.min(...took);
}

test("a saved file is live within a second and reported once", async () => {
  await using handlers = await liveFolder({});
  const took: number[] = [];
  const kinds = ["user", "session", "organization", "email", "sms", "role", "passkey", "waitlistEntry", "a", "b"];
  for (const kind of kinds) {
    const began = performance.now();
    await handlers.write(`${kind}.created.ts`, returning(kind));
    await until("the file to be live", () => handlers.reported.includes(`new ${kind}.created.ts`));
    took.push(performance.now() - began);
    expect(handlers.call(`${kind}.created`)).toBe(kind);
  }
  const median = took.toSorted((a, b) => a - b)[took.length / 2]!;
  console.log(`    live ${median.toFixed(0)} ms after the save, at most ${Math.max(...took).toFixed(0)} ms`);
  expect(median).toBeLessThan(1_000);
  expect(handlers.reported).toHaveLength(kinds.length);
});

test("an edit is live, and only the edited file is reported", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(1), "user.updated.ts": returning(1) });
  await handlers.write("user.created.ts", returning("two"));
  await handlers.expectReported("live user.created.ts");
  expect([handlers.call("user.created"), handlers.call("user.updated")]).toEqual(["two", 1]);
});

test("an edit of an indirect import is live in every handler that uses it, inside and outside the folder", async () => {
  await using handlers = await liveFolder({
    "_lib/deep.ts": `export const deep = "old";`,
    "_lib.ts": `export { deep } from "./_lib/deep.ts";`,
    "../src/outside/deep.ts": `export const far = "old";`,
    "../src/near.ts": `export { far } from "./outside/deep";`,
    "../src/words.json": `{ "hello": "old" }`,
    "../src/words.txt": "old",
    "user.created.ts": `import { deep } from "./_lib.ts"; export default () => deep;`,
    "user.updated.ts": `import { far } from "../src/near.ts"; export default () => far;`,
    "user.deleted.ts": `import words from "../src/words.json"; import text from "../src/words.txt" with { type: "text" }; export default () => words.hello + text;`,
    "session.created.ts": returning(1),
  });
  // Nothing has changed, so nothing is reported.
  await handlers.folder.look();
  await handlers.expectReported();
  await handlers.write("_lib/deep.ts", `export const deep = "new";`);
  await handlers.expectReported("live user.created.ts");
  expect(handlers.call("user.created")).toBe("new");
  await handlers.write("../src/outside/deep.ts", `export const far = "new";`);
  await handlers.expectReported("live user.updated.ts");
  expect(handlers.call("user.updated")).toBe("new");
  await handlers.write("../src/words.json", `{ "hello": "new" }`);
  await handlers.expectReported("live user.deleted.ts");
  await handlers.write("../src/words.txt", "newer");
  await handlers.expectReported("live user.deleted.ts");
  expect(handlers.call("user.deleted")).toBe("newnewer");
  // A file that is imported for the first time is watched too.
  await handlers.write("../lib/late.ts", `export const late = "old";`);
  await handlers.write("session.created.ts", `import { late } from "../lib/late.ts"; export default () => late;`);
  await handlers.expectReported("live session.created.ts");
  expect(
    await shortest(async (edit) => {
      await handlers.write("../lib/late.ts", `export const late = "${edit}";`);
      await until("the edit to be live", () => handlers.result("session.created") === edit);
    }),
  ).toBeLessThan(1_000);
  await handlers.expectReported(...EDITS.map(() => "live session.created.ts"));
});

test("handlers run their last good version while an import is missing, and the new one when it is back", async () => {
  await using handlers = await liveFolder({
    "../src/far.ts": `export const far = "old";`,
    "_near.ts": `export const near = "old";`,
    "user.created.ts": `import { far } from "../src/far"; export default () => far;`,
    "user.updated.ts": `import { near } from "./_near.ts"; export default () => near;`,
  });
  await handlers.remove("../src/far.ts");
  await handlers.expectReported("broken user.created.ts");
  await handlers.remove("_near.ts");
  await handlers.expectReported("broken user.updated.ts");
  expect([handlers.call("user.created"), handlers.call("user.updated")]).toEqual(["old", "old"]);
  await handlers.write("../src/far.ts", `export const far = "back";`);
  await handlers.expectReported("live user.created.ts");
  await handlers.write("_near.ts", `export const near = "back";`);
  await handlers.expectReported("live user.updated.ts");
  expect([handlers.call("user.created"), handlers.call("user.updated")]).toEqual(["back", "back"]);
});

test("applies a rename, a delete and a new folder", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(1) });
  await handlers.move("user.created.ts", "user.updated.ts");
  await handlers.expectReported("new user.updated.ts", "gone user.created.ts");
  expect(handlers.folder.table.match("user.created")).toEqual([]);
  await handlers.move("user.updated.ts", "user.updated.js");
  await handlers.expectReported("live user.updated.js");
  await handlers.remove("user.updated.js");
  await handlers.expectReported("gone user.updated.js");
  await handlers.write("user.created/crm.ts", returning("crm"));
  await handlers.expectReported("new user.created/crm.ts");
  expect(handlers.call("user.created/crm")).toBe("crm");
  await handlers.write("user.created/crm.ts", returning("edited"));
  await handlers.expectReported("live user.created/crm.ts");
  await handlers.write("user.created/mail.ts", returning("mail"));
  await handlers.expectReported("new user.created/mail.ts");
  await handlers.remove("user.created");
  await handlers.expectReported("gone user.created/crm.ts", "gone user.created/mail.ts");
});

test("a folder is still watched after it was replaced, or removed and created again", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning("old"), "user.updated.ts": returning("old") });
  await mkdir(join(handlers.path, "next"));
  await Bun.write(join(handlers.path, "next/user.created.ts"), returning("next"));
  await rename(handlers.dir, join(handlers.path, "away"));
  await rename(join(handlers.path, "next"), handlers.dir);
  await handlers.expectReported("live user.created.ts", "gone user.updated.ts");
  await handlers.write("user.created.ts", returning("edited"));
  await handlers.expectReported("live user.created.ts");

  await rm(handlers.dir, { recursive: true });
  await handlers.expectReported("gone user.created.ts", `ignored ${handlers.dir}`);
  await mkdir(handlers.dir);
  await handlers.write("user.created.ts", returning("back"));
  await handlers.expectReported("new user.created.ts");
  await handlers.write("user.created.ts", returning("edited"));
  await handlers.expectReported("live user.created.ts");
  expect(handlers.call("user.created")).toBe("edited");

  await rm(handlers.dir, { recursive: true });
  await mkdir(handlers.dir);
  await handlers.write("user.created.ts", returning("new"));
  await until("the new file to be live", () => handlers.result("user.created") === "new");
  expect(
    await shortest(async (edit) => {
      await handlers.write("user.created.ts", returning(edit));
      await until("the edit to be live", () => handlers.result("user.created") === edit);
    }),
  ).toBeLessThan(1_000);
});

test("a file in the place of the folder is reported, and a folder created in its place is loaded", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning("old") });
  await rm(handlers.dir, { recursive: true });
  await Bun.write(handlers.dir, "not a folder");
  await handlers.expectReported("gone user.created.ts", `ignored ${handlers.dir}`);
  await rm(handlers.dir);
  await mkdir(handlers.dir);
  await handlers.write("user.created.ts", returning("new"));
  await handlers.expectReported("new user.created.ts");
});

test("a file that is written continuously in or next to the folder delays no reload", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning("old") });
  for (const noise of ["../app.log", "_noise.log"]) {
    const writing = setInterval(() => void handlers.write(noise, String(performance.now())), 5);
    const ms = await shortest(async (edit) => {
      await handlers.write("user.created.ts", returning(`${noise} ${edit}`));
      await until("the edit to be live", () => handlers.result("user.created") === `${noise} ${edit}`);
    });
    clearInterval(writing);
    expect(ms).toBeLessThan(1_000);
  }
});

test("each save is reported once, by editors that write in place, by rename or with backup files", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(0) });
  const { dir } = handlers;
  const file = join(dir, "user.created.ts");
  // In place, in two steps.
  const writer = Bun.file(file).writer();
  void writer.write(`export default () =`);
  await writer.flush();
  void writer.write(`> "in place";\n`);
  await writer.end();
  await handlers.expectReported("live user.created.ts");
  // vim writes a probe file, moves the old file away, writes the new one and removes the backup.
  await Bun.write(join(dir, ".user.created.ts.swp"), "swap");
  await Bun.write(join(dir, "4913"), "");
  await rm(join(dir, "4913"));
  await rename(file, join(dir, "user.created.ts~"));
  await Bun.write(file, returning("vim"));
  await rm(join(dir, "user.created.ts~"));
  await rm(join(dir, ".user.created.ts.swp"));
  await handlers.expectReported("live user.created.ts");
  expect(handlers.call("user.created")).toBe("vim");
  // Other editors write a temporary file and rename it.
  await Bun.write(join(dir, "user.created.ts.tmp.123"), returning("atomic"));
  await rename(join(dir, "user.created.ts.tmp.123"), file);
  await handlers.expectReported("live user.created.ts");
  expect(handlers.call("user.created")).toBe("atomic");
  // Backup files that remain are not reported.
  for (const backup of [
    "user.created.ts~",
    "user.created.ts.bak",
    "user.created.ts.orig",
    "#user.created.ts#",
    ".#user.created.ts",
    "4913",
  ])
    await Bun.write(join(dir, backup), "backup");
  await handlers.expectReported();
  expect(handlers.folder.table.handlers).toHaveLength(1);
});

test("loads one of two files that differ only in case, and reports the other", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning("lower") });
  await handlers.write("User.created.ts", returning("upper"));
  await until("the report", () => handlers.reported.length > 0);
  await Bun.sleep(60);
  expect(handlers.folder.table.handlers).toHaveLength(1);
  expect(handlers.changes).toContainEqual(
    expect.objectContaining({ kind: "ignored", reason: expect.stringContaining("has the same name as") }),
  );
});

const mistakes: Record<string, [text: string, where: RegExp, message: string, source?: string]> = {
  "a syntax error": [
    `const a = 1;\n  export default ( => 2;`,
    /^user\.created\.ts:2:\d+$/,
    "",
    "export default ( => 2;",
  ],
  "a missing import": [
    `\nimport { x } from "./_gone.ts";\nexport default () => x;`,
    /^user\.created\.ts:2:\d+$/,
    "_gone.ts",
    `import { x } from "./_gone.ts";`,
  ],
  "a throw at the top level": [
    `const a = 1;\nthrow new Error("no key");`,
    /^user\.created\.ts:2:\d+$/,
    "no key",
    `throw new Error("no key");`,
  ],
  "no default export": [`export const x = 1;`, /^user\.created\.ts$/, "must export a function by default"],
  "another event's on()": [
    `import { on } from "bellhop"; export default on("user.updated", () => 1);`,
    /^user\.created\.ts$/,
    `calls on("user.updated", …)`,
  ],
};

for (const [mistake, [text, where, message, source]] of Object.entries(mistakes))
  test(`after ${mistake}, the last good version stays in use, the position is reported, and a correction is live`, async () => {
    await using handlers = await liveFolder({ "user.created.ts": returning("good") });
    await handlers.write("user.created.ts", text);
    await handlers.expectReported("broken user.created.ts");
    const [change] = handlers.changes;
    const { error } = (change as { handler: Handler }).handler;
    expect(error?.where).toMatch(where);
    expect(error?.message).toContain(message);
    expect(error?.source).toBe(source as string);
    expect(handlers.call("user.created")).toBe("good");
    // Another reload keeps the last good version and does not report the error again.
    await handlers.write("user.updated.ts", returning(1));
    await handlers.expectReported("new user.updated.ts");
    expect(handlers.call("user.created")).toBe("good");
    await handlers.write("user.created.ts", returning("fixed"));
    await handlers.expectReported("live user.created.ts");
    expect(handlers.call("user.created")).toBe("fixed");
  });
