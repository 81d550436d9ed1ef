// Each starts processes of its own, which takes its time where others work as well.
setDefaultTimeout(20_000);

// The folder while it lives: whatever an editor or git does to it, the table equals it, and each change is told once.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { describe, openHandlers } from "../../src/handlers/folder.ts";
import type { Handler, HandlerTable } from "../../src/handlers/loader.ts";
import { readName } from "../../src/handlers/names.ts";
import { logChange, type Logger } from "../../src/log.ts";
import { post, rawConnection, rawRequest, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { answers, describeChange, living } from "./living.ts";

test("a saved file is live within 150 ms, and told once", async () => {
  await using handlers = await living({});
  const took: number[] = [];
  const kinds = ["user", "session", "organization", "email", "sms", "role", "passkey", "waitlistEntry", "a", "b"];
  for (const kind of kinds) {
    const began = performance.now();
    await handlers.write(`${kind}.created.ts`, answers(kind));
    await until("it to be live", () => handlers.told.includes(`new ${kind}.created.ts`));
    took.push(performance.now() - began);
    expect(handlers.call(`${kind}.created`)).toBe(kind);
  }
  const median = took.toSorted((a, b) => a - b)[took.length / 2]!;
  console.log(`    live ${median.toFixed(0)} ms after the save, at most ${Math.max(...took).toFixed(0)} ms`);
  expect(median).toBeLessThan(1_000);
  expect(handlers.told).toHaveLength(kinds.length);
});

test("with bun dev running, a saved file runs the next event, in the same process and over the same connection", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "session.created.ts": answers(1) });
  await using server = await spawnServer(folder.path, { mode: "dev" });
  using connection = await rawConnection(Number(new URL(server.url).port));
  connection.write(rawRequest("GET", "/health"));
  expect((await connection.answer()).status).toBe(200);
  const lines = () => server.output().split("\n");

  const began = performance.now();
  await writeHandlers(folder.path, { "user.created.ts": `export default ({ log }) => log.info("one");` });
  await until("it to be live", () => server.output().includes("user.created.ts is live"));
  console.log(`    bun dev says so after ${(performance.now() - began).toFixed(0)} ms`);
  await post(server.url, sample("user.created"), { id: "first" });
  expect(await server.ended("first")).toMatchObject({ runs: [{ attempts: [{ log: [{ message: "one" }] }] }] });

  await writeHandlers(folder.path, { "user.created.ts": `export default ({ log }) => log.info("two");` });
  await until("the edit to be live", () => server.output().includes("live again, as it is now"));
  await post(server.url, sample("user.created"), { id: "second" });
  expect(await server.ended("second")).toMatchObject({ runs: [{ attempts: [{ log: [{ message: "two" }] }] }] });

  await writeHandlers(folder.path, { "user.created.ts": `const fine = 1;\nexport default ( => fine;\n` });
  await until("the slip to be told", () => server.output().includes("does not load"));
  const slip = lines().findIndex((line) => line.includes("does not load"));
  expect(lines()[slip]).toMatch(/user\.created\.ts:2:\d+ does not load, the last good version still runs/);
  expect(server.output()).toContain("export default ( => fine;");
  await post(server.url, sample("user.created"), { id: "third" });
  expect(await server.ended("third")).toMatchObject({ runs: [{ attempts: [{ log: [{ message: "two" }] }] }] });

  await rm(join(folder.path, "handlers/user.created.ts"));
  await until("it to be gone", () => server.output().includes("user.created.ts is gone"));
  await post(server.url, sample("user.created"), { id: "fourth" });
  expect(await server.get("fourth")).toMatchObject({ runs: [] });

  expect(lines().filter((line) => line.includes("user.created.ts") && line.includes("live"))).toHaveLength(2);
  expect(lines().filter((line) => line.includes("session.created.ts is live"))).toEqual([]);
  connection.write(rawRequest("GET", "/health"));
  expect((await connection.answer()).status).toBe(200);
  expect(server.process.exitCode).toBeNull();
}, 20_000);

test("an edit is live, and only what it touches is told", async () => {
  await using handlers = await living({ "user.created.ts": answers(1), "user.updated.ts": answers(1) });
  await handlers.write("user.created.ts", answers("two"));
  await handlers.tells("live user.created.ts");
  expect([handlers.call("user.created"), handlers.call("user.updated")]).toEqual(["two", 1]);
});

test("an edited helper two levels down is live in every handler that uses it, inside the folder and outside of it", async () => {
  await using handlers = await living({
    "_lib/deep.ts": `export const deep = "old";`,
    "_lib.ts": `export { deep } from "./_lib/deep.ts";`,
    "../src/outside/deep.ts": `export const far = "old";`,
    "../src/near.ts": `export { far } from "./outside/deep";`,
    "../src/words.json": `{ "hello": "old" }`,
    "../src/words.txt": "old",
    "user.created.ts": `import { deep } from "./_lib.ts"; export default () => deep;`,
    "user.updated.ts": `import { far } from "../src/near.ts"; export default () => far;`,
    "user.deleted.ts": `import words from "../src/words.json"; import text from "../src/words.txt" with { type: "text" }; export default () => words.hello + text;`,
    "session.created.ts": answers(1),
  });
  // Nothing has changed, so nothing is told.
  await handlers.folder.look();
  await handlers.tells();
  await handlers.write("_lib/deep.ts", `export const deep = "new";`);
  await handlers.tells("live user.created.ts");
  expect(handlers.call("user.created")).toBe("new");
  await handlers.write("../src/outside/deep.ts", `export const far = "new";`);
  await handlers.tells("live user.updated.ts");
  expect(handlers.call("user.updated")).toBe("new");
  await handlers.write("../src/words.json", `{ "hello": "new" }`);
  await handlers.tells("live user.deleted.ts");
  await handlers.write("../src/words.txt", "newer");
  await handlers.tells("live user.deleted.ts");
  expect(handlers.call("user.deleted")).toBe("newnewer");
  // One that is imported since now is followed at once.
  await handlers.write("../lib/late.ts", `export const late = "old";`);
  await handlers.write("session.created.ts", `import { late } from "../lib/late.ts"; export default () => late;`);
  await handlers.tells("live session.created.ts");
  const began = performance.now();
  await handlers.write("../lib/late.ts", `export const late = "new";`);
  await handlers.tells("live session.created.ts");
  expect(performance.now() - began).toBeLessThan(1_000);
  expect(handlers.call("session.created")).toBe("new");
});

test("a helper that goes away breaks its handlers, which run as before, and one that comes back mends them", async () => {
  await using handlers = await living({
    "../src/far.ts": `export const far = "old";`,
    "_near.ts": `export const near = "old";`,
    "user.created.ts": `import { far } from "../src/far"; export default () => far;`,
    "user.updated.ts": `import { near } from "./_near.ts"; export default () => near;`,
  });
  await handlers.remove("../src/far.ts");
  await handlers.tells("broken user.created.ts");
  await handlers.remove("_near.ts");
  await handlers.tells("broken user.updated.ts");
  expect([handlers.call("user.created"), handlers.call("user.updated")]).toEqual(["old", "old"]);
  await handlers.write("../src/far.ts", `export const far = "back";`);
  await handlers.tells("live user.created.ts");
  await handlers.write("_near.ts", `export const near = "back";`);
  await handlers.tells("live user.updated.ts");
  expect([handlers.call("user.created"), handlers.call("user.updated")]).toEqual(["back", "back"]);
}, 20_000);

test("a rename, a delete and a new sub-folder are live", async () => {
  await using handlers = await living({ "user.created.ts": answers(1) });
  await handlers.move("user.created.ts", "user.updated.ts");
  await handlers.tells("new user.updated.ts", "gone user.created.ts");
  expect(handlers.folder.table.match("user.created")).toEqual([]);
  await handlers.move("user.updated.ts", "user.updated.js");
  await handlers.tells("live user.updated.js");
  await handlers.remove("user.updated.js");
  await handlers.tells("gone user.updated.js");
  await handlers.write("user.created/crm.ts", answers("crm"));
  await handlers.tells("new user.created/crm.ts");
  expect(handlers.call("user.created/crm")).toBe("crm");
  await handlers.write("user.created/crm.ts", answers("edited"));
  await handlers.tells("live user.created/crm.ts");
  await handlers.write("user.created/mail.ts", answers("mail"));
  await handlers.tells("new user.created/mail.ts");
  await handlers.remove("user.created");
  await handlers.tells("gone user.created/crm.ts", "gone user.created/mail.ts");
});

test("a folder that is replaced by another is followed, and so is one that goes away and comes back", async () => {
  await using handlers = await living({ "user.created.ts": answers("old"), "user.updated.ts": answers("old") });
  await mkdir(join(handlers.path, "next"));
  await Bun.write(join(handlers.path, "next/user.created.ts"), answers("next"));
  await rename(handlers.dir, join(handlers.path, "away"));
  await rename(join(handlers.path, "next"), handlers.dir);
  await handlers.tells("live user.created.ts", "gone user.updated.ts");
  await handlers.write("user.created.ts", answers("edited"));
  await handlers.tells("live user.created.ts");

  await rm(handlers.dir, { recursive: true });
  await handlers.tells("gone user.created.ts", `ignored ${handlers.dir}`);
  await mkdir(handlers.dir);
  await handlers.write("user.created.ts", answers("back"));
  await handlers.tells("new user.created.ts");
  await handlers.write("user.created.ts", answers("edited"));
  await handlers.tells("live user.created.ts");
  expect(handlers.call("user.created")).toBe("edited");

  await rm(handlers.dir, { recursive: true });
  await mkdir(handlers.dir);
  await handlers.write("user.created.ts", answers("at once"));
  await until("the new one", () => handlers.answer("user.created") === "at once");
  const began = performance.now();
  await handlers.write("user.created.ts", answers("and edited"));
  await until("its edit", () => handlers.answer("user.created") === "and edited");
  expect(performance.now() - began).toBeLessThan(1_000);
}, 20_000);

test("a file in the place of the folder is no folder, until there is one", async () => {
  await using handlers = await living({ "user.created.ts": answers("old") });
  await rm(handlers.dir, { recursive: true });
  await Bun.write(handlers.dir, "not a folder");
  await handlers.tells("gone user.created.ts", `ignored ${handlers.dir}`);
  await rm(handlers.dir);
  await mkdir(handlers.dir);
  await handlers.write("user.created.ts", answers("new"));
  await handlers.tells("new user.created.ts");
});

test("what is written all the time beside the folder, or in it, delays nothing", async () => {
  await using handlers = await living({ "user.created.ts": answers("old") });
  for (const noise of ["../app.log", "_noise.log"]) {
    const writing = setInterval(() => void handlers.write(noise, String(performance.now())), 5);
    const began = performance.now();
    await handlers.write("user.created.ts", answers(noise));
    await until("the edit", () => handlers.answer("user.created") === noise);
    clearInterval(writing);
    expect(performance.now() - began).toBeLessThan(1_000);
  }
});

test("a file that comes while the folder is read and goes again is gone, whenever that was", async () => {
  await using handlers = await living({ "user.created.ts": answers(0) }, { follow: false });
  for (let round = 1; round <= 300; round += 1) {
    await handlers.write("user.created.ts", answers(round));
    const looking = handlers.folder.look();
    // Before the look, in the middle of it, after it.
    for (let turns = round % 5; turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
    await handlers.write("user.deleted.ts", answers(round));
    await looking;
    await handlers.remove("user.deleted.ts");
    await handlers.folder.look();
    expect(handlers.answer("user.deleted"), `round ${round}`).toBeUndefined();
  }
});

test("a file that was away while the folder was read, and is back as it was, is live", async () => {
  const slow = `await Bun.sleep(150); ${answers("slow")}`;
  await using handlers = await living(
    { "user.created.ts": slow, "user.updated.ts": answers("fast") },
    { follow: false },
  );
  await handlers.write("user.created.ts", `${slow} // edited`);
  const looking = handlers.folder.look();
  await Bun.sleep(50);
  await handlers.move("user.updated.ts", "../away.ts");
  await looking;
  await handlers.move("../away.ts", "user.updated.ts");
  await handlers.folder.look();
  expect(handlers.folder.table.get("user.updated")?.error).toBeUndefined();
});

test("a file outside of the folder that is saved while it is imported for the first time is live, and so is one that comes then", async () => {
  await using handlers = await living({ "user.created.ts": answers(0) }, { follow: false });
  const outside = join(handlers.path, "lib.ts");
  const importing = `import { v } from "../lib.ts"; await Bun.sleep(300); export default () => v;`;
  await Bun.write(outside, "export const v = 1;");
  await handlers.write("user.created.ts", importing);
  const looking = handlers.folder.look();
  await Bun.sleep(150);
  await Bun.write(outside, "export const v = 2222;");
  await looking;
  await handlers.folder.look();
  expect(handlers.answer("user.created")).toBe(2222);

  const other = join(handlers.path, "other.ts");
  await handlers.write("a.created.ts", `import { v } from "../other.ts"; export default () => v;`);
  await handlers.write("user.created.ts", `${importing} // edited`);
  const again = handlers.folder.look();
  await Bun.sleep(150);
  await Bun.write(other, "export const v = 3;");
  await again;
  await handlers.folder.look();
  expect(handlers.answer("a.created")).toBe(3);
});

test("a slip in a helper is told with the handler that it breaks and its own line; a missing folder by its name", async () => {
  await using handlers = await living({ "user.created.ts": `import { x } from "./_lib.ts"; export default () => x;` });
  await handlers.write("_lib.ts", "export const x = (\n");
  await until("it to be told", () => handlers.changes.some(({ kind }) => kind === "broken"));
  const lines: string[] = [];
  const told = (line: string) => void lines.push(line);
  const log = { error: told, warn: told, info: told } as unknown as Logger;
  for (const change of handlers.changes) logChange(log, "handlers", change);
  logChange(log, "handlers", { kind: "ignored", file: "handlers", reason: "is not a directory; create it" });
  expect(lines.at(-2)).toMatch(/^handlers\/user\.created\.ts does not load, .*: handlers\/_lib\.ts:1:\d+: /);
  expect(lines.at(-1)).toBe("handlers is not a directory; create it");
});

test("a folder that is not there is not read again and again", async () => {
  await using folder = await temporaryFolder();
  for (const dir of [join(folder.path, "nowhere"), relative(process.cwd(), join(folder.path, "nowhere"))]) {
    const handlers = await openHandlers(dir, () => undefined);
    const { table } = handlers;
    await handlers.look();
    expect(handlers.table).toBe(table);
    handlers.close();
  }
});

test("what was told last is true when the folder is closed while it is looked at", async () => {
  const handlers = await living({ "user.created.ts": answers("old") });
  await handlers.write("user.created.ts", answers("new"));
  const looked = handlers.folder.look();
  await handlers[Symbol.asyncDispose]();
  await looked;
  expect(handlers.told).toEqual([]);
});

test("editors that write by rename, in place and with backup files tell one change for each save", async () => {
  await using handlers = await living({ "user.created.ts": answers(0) });
  const { dir } = handlers;
  const file = join(dir, "user.created.ts");
  // In place, in two steps.
  const writer = Bun.file(file).writer();
  void writer.write(`export default () =`);
  await writer.flush();
  void writer.write(`> "in place";\n`);
  await writer.end();
  await handlers.tells("live user.created.ts");
  // As vim does: tries the folder, moves the old one away, writes the new one, removes the backup.
  await Bun.write(join(dir, ".user.created.ts.swp"), "swap");
  await Bun.write(join(dir, "4913"), "");
  await rm(join(dir, "4913"));
  await rename(file, join(dir, "user.created.ts~"));
  await Bun.write(file, answers("vim"));
  await rm(join(dir, "user.created.ts~"));
  await rm(join(dir, ".user.created.ts.swp"));
  await handlers.tells("live user.created.ts");
  expect(handlers.call("user.created")).toBe("vim");
  // As others do: a temporary file that takes the name.
  await Bun.write(join(dir, "user.created.ts.tmp.123"), answers("atomic"));
  await rename(join(dir, "user.created.ts.tmp.123"), file);
  await handlers.tells("live user.created.ts");
  expect(handlers.call("user.created")).toBe("atomic");
  // Backups that stay are nobody's business.
  for (const left of [
    "user.created.ts~",
    "user.created.ts.bak",
    "user.created.ts.orig",
    "#user.created.ts#",
    ".#user.created.ts",
    "4913",
  ])
    await Bun.write(join(dir, left), "left");
  await handlers.tells();
  expect(handlers.folder.table.handlers).toHaveLength(1);
});

test("files that differ only in case get a clear word, and the one that goes on is live", async () => {
  await using handlers = await living({ "user.created.ts": answers("lower") });
  await handlers.write("User.created.ts", answers("upper"));
  await until("a word about it", () => handlers.told.length > 0);
  await Bun.sleep(60);
  expect(handlers.folder.table.handlers).toHaveLength(1);
  expect(handlers.changes).toContainEqual(
    expect.objectContaining({ kind: "ignored", reason: expect.stringContaining("has the same name as") }),
  );
});

const slips: Record<string, [text: string, where: RegExp, message: string, source?: string]> = {
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

for (const [what, [text, where, message, source]] of Object.entries(slips))
  test(`after ${what} the last good version goes on, and a person is told what to mend; mended, it is live again`, async () => {
    await using handlers = await living({ "user.created.ts": answers("good") });
    await handlers.write("user.created.ts", text);
    await handlers.tells("broken user.created.ts");
    const [change] = handlers.changes;
    const { error } = (change as { handler: Handler }).handler;
    expect(error?.where).toMatch(where);
    expect(error?.message).toContain(message);
    expect(error?.source).toBe(source as string);
    expect(handlers.call("user.created")).toBe("good");
    // Another reload does not lose it, and does not tell it again.
    await handlers.write("user.updated.ts", answers(1));
    await handlers.tells("new user.updated.ts");
    expect(handlers.call("user.created")).toBe("good");
    await handlers.write("user.created.ts", answers("mended"));
    await handlers.tells("live user.created.ts");
    expect(handlers.call("user.created")).toBe("mended");
  });

test("git checkout and git stash leave a table that equals the folder, and runs wait for a file that comes back", async () => {
  await using folder = await temporaryFolder();
  const git = async (...words: string[]) => {
    const child = Bun.spawn(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", ...words], {
      cwd: folder.path,
      stdout: "ignore",
      stderr: "ignore",
    });
    expect(await child.exited).toBe(0);
  };
  const handler = (word: string) => `export default ({ log }) => log.info("${word}");`;
  await git("init", "-b", "main");
  await Bun.write(join(folder.path, ".gitignore"), "data\n.env\n");
  await writeHandlers(folder.path, { "user.created.ts": handler("main"), "session.created.ts": handler("main") });
  await git("add", ".");
  await git("commit", "-m", "one");
  await git("checkout", "-b", "feature");
  await writeHandlers(folder.path, { "user.created.ts": handler("feature"), "role.created/x.ts": handler("feature") });
  await rm(join(folder.path, "handlers/session.created.ts"));
  await git("add", ".");
  await git("commit", "-m", "two");
  await git("checkout", "main");

  await using server = await spawnServer(folder.path, { mode: "dev", env: { CONCURRENCY: "1" } });
  const says = (words: string) => until(words, () => server.output().includes(words));
  await git("checkout", "feature");
  await says("session.created.ts is gone");
  await says("role.created/x.ts is live");
  await post(server.url, sample("user.created"), { id: "on the branch" });
  expect(await server.ended("on the branch")).toMatchObject({
    runs: [{ attempts: [{ log: [{ message: "feature" }] }] }],
  });

  // Accepted while its file is there; the file goes before the run does.
  await writeHandlers(folder.path, {
    "user.updated.ts": `import { RetryAfterError } from "bellhop"; export default ({ run, log }) => { if (run.attempt === 1) throw new RetryAfterError("later", 2_000); log.info("came back"); };`,
  });
  await says("user.updated.ts is live");
  await post(server.url, sample("user.updated"), { id: "waits" });
  await until("its first attempt", async () => (await server.get("waits"))?.runs[0]?.attempts.length === 1);
  await git("stash", "--include-untracked");
  await says("user.updated.ts is gone");
  // Past the time of its retry.
  await Bun.sleep(2_200);
  expect(await server.get("waits")).toMatchObject({ runs: [{ state: "waiting", parked: true }] });
  await git("stash", "pop");
  expect(await server.ended("waits")).toMatchObject({
    runs: [{ state: "done", attempts: [{ outcome: "retry" }, { log: [{ message: "came back" }] }] }],
  });
}, 30_000);

/** The same sequence for the same seed (mulberry32). */
function random(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const FILES = [
  "user.created.ts",
  "user.created.js",
  "User.created.ts",
  "user.updated.ts",
  "user.created/crm.ts",
  "user.[action].ts",
  "[...event].ts",
  "user.ts",
  "_lib.ts",
  "session.created.test.ts",
];

for (const seed of [1, 2, 3])
  test(`after any change the table equals the folder, and each change is told once: seed ${seed}`, async () => {
    const pick = random(seed);
    await using folder = await temporaryFolder();
    const dir = join(folder.path, "handlers");
    await mkdir(dir);
    const { crawl } = await import("../../src/handlers/crawl.ts");
    const handlers = await openHandlers(dir, () => undefined);
    await using _closing = { [Symbol.asyncDispose]: async () => handlers.close() };
    let told: string[] = [];
    handlers.watch((changes) => (told = [...told, ...changes.map(describeChange)]));
    /** The text of each file. */
    const texts = new Map<string, string>();
    const helper = () => texts.get("_lib.ts");

    /** What a handler with this text has to answer. */
    function expected(file: string, text: string): unknown {
      if (text.includes("import"))
        return text.includes(`"../`) === file.includes("/") && helper()?.startsWith("export const lib")
          ? `lib ${helper()?.match(/\d+/)?.[0]}`
          : "error";
      return text.startsWith("export default () =>") ? JSON.parse(text.slice(20, -2)) : "error";
    }

    function textFor(file: string, step: number): string {
      if (file === "_lib.ts") return pick(4) === 0 ? `const = ${step}` : `export const lib = "lib ${step}";`;
      const broken = ["export default ( =>", `throw new Error("${step}")`, "export const x = 1;"];
      if (pick(4) === 0) return broken[pick(broken.length)]!;
      return pick(3) === 0
        ? `import { lib } from "${file.includes("/") ? "../" : "./"}_lib.ts"; export default () => lib;`
        : answers(step);
    }

    for (let step = 0; step < 100; step += 1) {
      const before = new Map(texts);
      const written = new Set<string>();
      const table = handlers.table;
      for (let operations = pick(3); operations >= 0; operations -= 1) {
        const file = FILES[pick(FILES.length)]!;
        const to = FILES[pick(FILES.length)]!;
        const path = join(dir, file);
        const kind = pick(10);
        written.add(file).add(to);
        if (kind < 5) {
          texts.set(file, textFor(file, step));
          await Bun.write(path, texts.get(file)!);
        } else if (kind < 7) {
          await rm(path, { force: true });
          texts.delete(file);
        } else if (kind < 8 && texts.has(file)) {
          await mkdir(join(dir, "user.created"), { recursive: true });
          await rename(path, join(dir, to));
          texts.set(to, texts.get(file)!);
          if (to !== file) texts.delete(file);
        } else if (kind < 9) {
          await Bun.write(`${path}~`, "backup");
          await rm(`${path}~`);
        } else if (pick(4) === 0) {
          await rename(dir, `${dir}.away`);
          await mkdir(dir);
          for (const [name, text] of texts) await Bun.write(join(dir, name), text);
          for (const name of texts.keys()) written.add(name);
          await rm(`${dir}.away`, { recursive: true });
        }
      }
      await handlers.look();
      const found = await crawl(dir);
      const now = handlers.table;
      expect(now.handlers.map(({ name, file }) => ({ name, file }))).toEqual(
        found.handlers.map(({ name, file }) => ({ name, file })),
      );
      expect(now.notHandlers).toEqual(found.notHandlers);
      for (const { name, file, error, code } of now.handlers) {
        const wanted = expected(file, texts.get(file)!);
        if (wanted === "error") expect(error, `${seed}/${step} ${file}`).toBeDefined();
        else {
          expect(error, `${seed}/${step} ${file}`).toBeUndefined();
          expect(code?.version.enter(() => code.run({} as never))).toBe(wanted);
        }
        // A change that fell between two looks is told at each of them; what was left alone is never told.
        const lines = told.filter((line) => line.endsWith(` ${file}`));
        const known = table.get(name);
        const alone = known?.file === file && known.error?.message === error?.message;
        expect(lines.length, `${seed}/${step} ${told.join(", ")}`).toBeLessThanOrEqual(
          alone && !written.has(file) && !written.has("_lib.ts") ? 0 : written.size,
        );
        const differs = before.get(file) !== texts.get(file);
        if (differs) expect(lines.length, `${seed}/${step} ${file} ${told.join(", ")}`).toBeGreaterThan(0);
      }
      told = [];
      // Nothing has changed since.
      await handlers.look();
      expect(told).toEqual([]);
    }
  }, 30_000);

/** A table of handlers with these files; a text is the error of the file. */
function tableOf(files: Record<string, string | true>, dead?: HandlerTable["dead"]): HandlerTable {
  const handlers = Object.entries(files).flatMap(([file, state]): Handler[] => {
    const read = readName(file);
    if ("reason" in read) return [];
    // A file that fails here has loaded before: its last good version goes on.
    const code = { run: () => undefined, version: undefined as never };
    return [{ ...read, options: {}, code, ...(state !== true && { error: { where: file, message: state } }) }];
  });
  const notHandlers = Object.keys(files).flatMap((file) => {
    const read = readName(file);
    return "reason" in read ? [read] : [];
  });
  return {
    dir: "handlers",
    handlers,
    notHandlers,
    match: () => [],
    get: (name) => handlers.find((each) => each.name === name),
    loaded: new Set(),
    release: () => undefined,
    ...(dead && { dead }),
  };
}

const A = "user.created.ts";

test.each<[string, Record<string, string | true>, Record<string, string | true>, string[], string[]]>([
  ["nothing", { [A]: true }, { [A]: true }, [], []],
  ["a new file", {}, { [A]: true }, [], [`new ${A}`]],
  ["a new file that does not load", {}, { [A]: "bad" }, [], [`broken ${A}`]],
  ["an edit", { [A]: true }, { [A]: true }, ["user.created"], [`live ${A}`]],
  ["a slip", { [A]: true }, { [A]: "bad" }, ["user.created"], [`broken ${A}`]],
  ["the same slip, saved again", { [A]: "bad" }, { [A]: "bad" }, ["user.created"], [`broken ${A}`]],
  ["the same slip, and another file", { [A]: "bad" }, { [A]: "bad" }, [], []],
  ["another slip", { [A]: "bad" }, { [A]: "worse" }, [], [`broken ${A}`]],
  ["a slip that is mended elsewhere", { [A]: "bad" }, { [A]: true }, [], [`live ${A}`]],
  ["a file that is gone", { [A]: true }, {}, [], [`gone ${A}`]],
  ["another extension", { [A]: true }, { "user.created.js": true }, [], ["live user.created.js"]],
  ["a rename", { [A]: true }, { "user.updated.ts": true }, [], ["new user.updated.ts", `gone ${A}`]],
  ["a file that is none", {}, { "user.ts": true }, [], ["ignored user.ts"]],
  ["a file that is none, as before", { "user.ts": true }, { "user.ts": true }, [], []],
  ["shared code", {}, { "_lib.ts": true }, [], []],
])("told of %s", (_, before, after, touched, lines) => {
  const changes = describe(tableOf(before), tableOf(after), (name) => touched.includes(name));
  expect(changes.map(describeChange)).toEqual(lines);
});

test("told of _dead.ts as of a handler", () => {
  const file = "_dead.ts";
  const error = { where: file, message: "bad" };
  const told = (before: HandlerTable["dead"], after: HandlerTable["dead"], touched = false) =>
    describe(tableOf({}, before), tableOf({}, after), () => touched).map(describeChange);
  expect(told(undefined, { file })).toEqual(["dead _dead.ts live"]);
  expect(told({ file }, { file })).toEqual([]);
  expect(told({ file }, { file }, true)).toEqual(["dead _dead.ts live"]);
  expect(told({ file }, { file, error })).toEqual(["dead _dead.ts broken"]);
  expect(told({ file, error }, { file, error })).toEqual([]);
  expect(told({ file, error }, { file })).toEqual(["dead _dead.ts live"]);
  expect(told({ file }, undefined)).toEqual(["dead _dead.ts gone"]);
});
