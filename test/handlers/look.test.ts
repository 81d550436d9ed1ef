// Changes during a look at the handlers folder are found by the next look.

import { expect, test } from "bun:test";
import { mkdir, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";

import { crawl } from "../../src/handlers/crawl.ts";
import { openHandlers } from "../../src/handlers/folder.ts";
import { temporaryFolder } from "../harness.ts";
import { seeded } from "../random.ts";
import { describeChange, liveFolder, returning } from "./living.ts";

test("a file that is created during a look and then deleted is gone, at any moment of the look", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(0) }, { follow: false });
  for (let round = 1; round <= 300; round += 1) {
    await handlers.write("user.created.ts", returning(round));
    const looking = handlers.folder.look();
    // The file is created before, during or after the look.
    for (let turns = round % 5; turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
    await handlers.write("user.deleted.ts", returning(round));
    await looking;
    await handlers.remove("user.deleted.ts");
    await handlers.folder.look();
    expect(handlers.result("user.deleted"), `round ${round}`).toBeUndefined();
  }
});

test("a file that is moved away during a look and back afterwards is live", async () => {
  const slow = `await Bun.sleep(150); ${returning("slow")}`;
  await using handlers = await liveFolder(
    { "user.created.ts": slow, "user.updated.ts": returning("fast") },
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

test("an imported file outside the folder that is saved or created during its first import is live", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(0) }, { follow: false });
  const outside = join(handlers.path, "lib.ts");
  const importing = `import { v } from "../lib.ts"; await Bun.sleep(300); export default () => v;`;
  await Bun.write(outside, "export const v = 1;");
  await handlers.write("user.created.ts", importing);
  const looking = handlers.folder.look();
  await Bun.sleep(150);
  await Bun.write(outside, "export const v = 2222;");
  await looking;
  await handlers.folder.look();
  expect(handlers.result("user.created")).toBe(2222);

  const other = join(handlers.path, "other.ts");
  await handlers.write("a.created.ts", `import { v } from "../other.ts"; export default () => v;`);
  await handlers.write("user.created.ts", `${importing} // edited`);
  const again = handlers.folder.look();
  await Bun.sleep(150);
  await Bun.write(other, "export const v = 3;");
  await again;
  await handlers.folder.look();
  expect(handlers.result("a.created")).toBe(3);
});

test("a missing folder is not loaded again while it is missing", async () => {
  await using folder = await temporaryFolder();
  for (const dir of [join(folder.path, "nowhere"), relative(process.cwd(), join(folder.path, "nowhere"))]) {
    const handlers = await openHandlers(dir, () => undefined);
    const { table } = handlers;
    await handlers.look();
    expect(handlers.table).toBe(table);
    handlers.close();
  }
});

test("reports nothing when the folder is closed during a look", async () => {
  const handlers = await liveFolder({ "user.created.ts": returning("old") });
  await handlers.write("user.created.ts", returning("new"));
  const looking = handlers.folder.look();
  await handlers[Symbol.asyncDispose]();
  await looking;
  expect(handlers.reported).toEqual([]);
});

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
  test(`after any change, the table equals the folder and the change is reported: seed ${seed}`, async () => {
    const random = seeded(seed);
    const pick = (below: number) => Math.floor(random() * below);
    await using folder = await temporaryFolder();
    const dir = join(folder.path, "handlers");
    await mkdir(dir);
    const handlers = await openHandlers(dir, () => undefined);
    await using _closing = { [Symbol.asyncDispose]: async () => handlers.close() };
    let reported: string[] = [];
    handlers.watch((changes) => void reported.push(...changes.map(describeChange)));
    /** The text of each file. */
    const texts = new Map<string, string>();
    const helper = () => texts.get("_lib.ts");

    /** The expected result of a handler with this text. */
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
        : returning(step);
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
        const result = expected(file, texts.get(file)!);
        if (result === "error") expect(error, `${seed}/${step} ${file}`).toBeDefined();
        else {
          expect(error, `${seed}/${step} ${file}`).toBeUndefined();
          expect(code?.version.enter(() => code.run({} as never))).toBe(result);
        }
        // A change during a look may be reported twice. A file that was not changed is never reported.
        const lines = reported.filter((line) => line.endsWith(` ${file}`));
        const known = table.get(name);
        const isUnchanged = known?.file === file && known.error?.message === error?.message;
        expect(lines.length, `${seed}/${step} ${reported.join(", ")}`).toBeLessThanOrEqual(
          isUnchanged && !written.has(file) && !written.has("_lib.ts") ? 0 : written.size,
        );
        const differs = before.get(file) !== texts.get(file);
        if (differs) expect(lines.length, `${seed}/${step} ${file} ${reported.join(", ")}`).toBeGreaterThan(0);
      }
      reported = [];
      // Nothing has changed since.
      await handlers.look();
      expect(reported).toEqual([]);
    }
  }, 30_000);
