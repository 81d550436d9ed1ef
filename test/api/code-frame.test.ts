import { expect, test } from "bun:test";
import { mkdir, symlink, utimes } from "node:fs/promises";
import { join, resolve } from "node:path";

import { createCodeFrames, positionsIn } from "../../src/api/code-frame.ts";
import { temporaryFolder } from "../harness.ts";

const CODE = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine";

async function project(files: Record<string, string>) {
  const folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) await Bun.write(join(folder.path, name), text);
  const frame = createCodeFrames({ projectDir: folder.path, handlersDir: "handlers" });
  const at = (...places: string[]) => {
    const stack = `Error: no\n${places.map((place) => `    at f (${place})`).join("\n")}`;
    return frame({ name: "Error", message: "no", stack }, Date.now() + 60_000);
  };
  return { path: folder.path, frame, at, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test("the first frame that is the user's own is shown, with three lines around it", async () => {
  const files = ["handlers/a.ts", "src/lib.ts", "node_modules/x/index.js"];
  await using it = await project(Object.fromEntries(files.map((file) => [file, CODE])));
  const inside = (file: string) => join(it.path, file);
  expect(await it.at(`${inside("node_modules/x/index.js")}:1:1`, `${inside("handlers/a.ts")}:5:3`)).toEqual({
    file: "handlers/a.ts",
    line: 5,
    column: 3,
    source: ["two", "three", "four", "five", "six", "seven", "eight"].map((text, index) => ({
      number: index + 2,
      text,
    })),
  });
  expect(await it.at(`${inside("src/lib.ts")}:1:1`, `${inside("handlers/a.ts")}:5:3`)).toMatchObject({
    file: "src/lib.ts",
    source: [{ number: 1 }, { number: 2 }, { number: 3 }, { number: 4, text: "four" }],
  });
});

test("without a frame of the user's own, that of a cause is shown", async () => {
  await using it = await project({ "handlers/a.ts": CODE });
  const causes = [
    { name: "Error", message: "no" },
    { name: "Error", message: "no", at: join(it.path, "handlers/a.ts:5:3") },
  ];
  const found = await it.frame({ name: "Error", message: "no", stack: "Error: no", causes }, Date.now());
  expect(found).toMatchObject({ file: "handlers/a.ts", line: 5, column: 3 });
});

test("a handlers' folder elsewhere is the user's own too", async () => {
  await using it = await project({ "handlers/a.ts": CODE });
  const frame = createCodeFrames({ projectDir: "/nowhere", handlersDir: join(it.path, "handlers") });
  const stack = `Error: no\n    at ${it.path}/handlers/a.ts:1:1`;
  expect(await frame({ name: "Error", message: "no", stack }, Date.now())).toMatchObject({ file: "handlers/a.ts" });
});

test("nothing is read that is no source file, lies elsewhere, is Bellhop's, or is too large", async () => {
  await using other = await temporaryFolder();
  await Bun.write(join(other.path, "secret.ts"), CODE);
  await using it = await project({
    ".env": CODE,
    ".env.ts": CODE,
    ".env.d/a.ts": CODE,
    "key.pem": CODE,
    "data/inbox.db": CODE,
    "handlers/large.ts": "x".repeat(1_000_001),
  });
  await symlink(join(other.path, "secret.ts"), join(it.path, "handlers", "link.ts"));
  await symlink(join(it.path, ".env"), join(it.path, "handlers", "env.ts"));
  await symlink(other.path, join(it.path, "handlers", "folder"));
  const inside = [".env", ".env.ts", ".env.d/a.ts", "key.pem", "data/inbox.db", "nothing.ts"];
  const linked = ["link.ts", "env.ts", "folder/secret.ts", "large.ts"].map((file) => `handlers/${file}`);
  const elsewhere = [`${other.path}/secret.ts`, `${it.path}/handlers/../../${other.path.split("/").at(-1)}/secret.ts`];
  const ours = resolve(import.meta.dir, "../../src/main.ts");
  for (const path of [...[...inside, ...linked].map((file) => join(it.path, file)), ...elsewhere, ours, "/etc/passwd"])
    expect(await it.at(`${path}:1:1`), path).toBeNull();
  const repository = createCodeFrames({ projectDir: resolve(import.meta.dir, "../.."), handlersDir: "handlers" });
  const stack = `Error: no\n    at f (${ours}:3:1)`;
  expect(await repository({ name: "Error", message: "no", stack }, 0)).toBeNull();
});

test("a project that lies behind a link is found", async () => {
  await using it = await project({ "handlers/a.ts": CODE });
  const link = `${it.path}-link`;
  await symlink(it.path, link);
  const frame = createCodeFrames({ projectDir: link, handlersDir: "handlers" });
  const stack = `Error: no\n    at f (${link}/handlers/a.ts:1:1)`;
  expect(await frame({ name: "Error", message: "no", stack }, 0)).toMatchObject({ file: "handlers/a.ts" });
});

test("what a message says is no frame, however much it looks like one", () => {
  const message = "no\n    at f (/project/config.ts:1:1)";
  const stack = `TypeError: ${message}\n    at g (/project/handlers/a.ts:2:3)\n    at /project/b.ts:4:5`;
  const real = [
    { file: "/project/handlers/a.ts", line: 2, column: 3 },
    { file: "/project/b.ts", line: 4, column: 5 },
  ];
  expect(positionsIn(stack, "TypeError", message)).toEqual(real);
  expect(positionsIn("Error\n    at g (/a.ts:1:2)", "Error", "")).toEqual([{ file: "/a.ts", line: 1, column: 2 }]);
  for (const text of ["", "x", "at (/a.ts:1:1)", "    at f (a.ts:1:1)", "    at f (node:fs:1:1)"])
    expect(positionsIn(text, "Error", "x")).toEqual([]);
});

test("a line that is not there any more, and a file that was saved since, are told", async () => {
  await using it = await project({ "handlers/a.ts": CODE });
  const file = join(it.path, "handlers", "a.ts");
  await mkdir(it.path, { recursive: true });
  expect(await it.at(`${file}:99:1`)).toBeNull();
  const stack = `Error: no\n    at f (${file}:1:1)`;
  await utimes(file, 100, 100);
  expect((await it.frame({ name: "Error", message: "no", stack }, 200_000))?.changed).toBeUndefined();
  expect((await it.frame({ name: "Error", message: "no", stack }, 50_000))?.changed).toBe(true);
  expect(await it.frame({ name: "Thrown", message: "no" }, 0)).toBeNull();
});

test.each(["/a b/x.ts", "/a (copy)/x.ts", "/a/[slug]/(group)/x.ts", "/src-old/x.ts", "/(x)/y.ts"])(
  "finds the place in a path with blanks or brackets: %s",
  (file) => {
    const stack = [
      "Error: no",
      `    at ${file}:1:2`,
      `    at fn (${file}:3:4)`,
      `    at async C.fn (file://${file}:5:6)`,
    ];
    expect(positionsIn(stack.join("\n"), "Error", "no")).toEqual([
      { file, line: 1, column: 2 },
      { file, line: 3, column: 4 },
      { file, line: 5, column: 6 },
    ]);
  },
);
