import { expect, test } from "bun:test";
import { mkdir, symlink, utimes } from "node:fs/promises";
import { join, resolve } from "node:path";

import { createCodeFrames, positionsIn } from "../../src/api/code-frame.ts";
import { temporaryFolder } from "../harness.ts";

const CODE = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine";

async function createProject(files: Record<string, string>) {
  const folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) await Bun.write(join(folder.path, name), text);
  const frame = createCodeFrames({ projectDir: folder.path, handlersDir: "handlers" });
  const at = (...positions: string[]) => {
    const stack = `Error: no\n${positions.map((position) => `    at f (${position})`).join("\n")}`;
    return frame({ name: "Error", message: "no", stack }, Date.now() + 60_000);
  };
  return { path: folder.path, frame, at, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test("shows the first stack frame in the user's code with three lines around it", async () => {
  const files = ["handlers/a.ts", "src/lib.ts", "node_modules/x/index.js"];
  await using project = await createProject(Object.fromEntries(files.map((file) => [file, CODE])));
  const inside = (file: string) => join(project.path, file);
  expect(await project.at(`${inside("node_modules/x/index.js")}:1:1`, `${inside("handlers/a.ts")}:5:3`)).toEqual({
    file: "handlers/a.ts",
    line: 5,
    column: 3,
    source: ["two", "three", "four", "five", "six", "seven", "eight"].map((text, index) => ({
      number: index + 2,
      text,
    })),
  });
  expect(await project.at(`${inside("src/lib.ts")}:1:1`, `${inside("handlers/a.ts")}:5:3`)).toMatchObject({
    file: "src/lib.ts",
    source: [{ number: 1 }, { number: 2 }, { number: 3 }, { number: 4, text: "four" }],
  });
});

test("shows the frame of a cause when the error has none in the user's code", async () => {
  await using project = await createProject({ "handlers/a.ts": CODE });
  const causes = [
    { name: "Error", message: "no" },
    { name: "Error", message: "no", at: join(project.path, "handlers/a.ts:5:3") },
  ];
  const found = await project.frame({ name: "Error", message: "no", stack: "Error: no", causes }, Date.now());
  expect(found).toMatchObject({ file: "handlers/a.ts", line: 5, column: 3 });
});

test("a handlers directory outside the project counts as the user's code", async () => {
  await using project = await createProject({ "handlers/a.ts": CODE });
  const frame = createCodeFrames({ projectDir: "/nowhere", handlersDir: join(project.path, "handlers") });
  const stack = `Error: no\n    at ${project.path}/handlers/a.ts:1:1`;
  expect(await frame({ name: "Error", message: "no", stack }, Date.now())).toMatchObject({ file: "handlers/a.ts" });
});

test("does not read files that are not source code, are outside the project, belong to Bellhop or are too large", async () => {
  await using other = await temporaryFolder();
  await Bun.write(join(other.path, "secret.ts"), CODE);
  await using project = await createProject({
    ".env": CODE,
    ".env.ts": CODE,
    ".env.d/a.ts": CODE,
    "key.pem": CODE,
    "data/inbox.db": CODE,
    "handlers/large.ts": "x".repeat(1_000_001),
  });
  await symlink(join(other.path, "secret.ts"), join(project.path, "handlers", "link.ts"));
  await symlink(join(project.path, ".env"), join(project.path, "handlers", "env.ts"));
  await symlink(other.path, join(project.path, "handlers", "folder"));
  const inside = [".env", ".env.ts", ".env.d/a.ts", "key.pem", "data/inbox.db", "nothing.ts"];
  const linked = ["link.ts", "env.ts", "folder/secret.ts", "large.ts"].map((file) => `handlers/${file}`);
  const outside = [
    `${other.path}/secret.ts`,
    `${project.path}/handlers/../../${other.path.split("/").at(-1)}/secret.ts`,
  ];
  const main = resolve(import.meta.dir, "../../src/main.ts");
  for (const path of [
    ...[...inside, ...linked].map((file) => join(project.path, file)),
    ...outside,
    main,
    "/etc/passwd",
  ])
    expect(await project.at(`${path}:1:1`), path).toBeNull();
  const repository = createCodeFrames({ projectDir: resolve(import.meta.dir, "../.."), handlersDir: "handlers" });
  const stack = `Error: no\n    at f (${main}:3:1)`;
  expect(await repository({ name: "Error", message: "no", stack }, 0)).toBeNull();
});

test("finds files of a project behind a symbolic link", async () => {
  await using project = await createProject({ "handlers/a.ts": CODE });
  const link = `${project.path}-link`;
  await symlink(project.path, link);
  const frame = createCodeFrames({ projectDir: link, handlersDir: "handlers" });
  const stack = `Error: no\n    at f (${link}/handlers/a.ts:1:1)`;
  expect(await frame({ name: "Error", message: "no", stack }, 0)).toMatchObject({ file: "handlers/a.ts" });
});

test("a message that looks like a stack frame is not taken for one", () => {
  const message = "no\n    at f (/project/config.ts:1:1)";
  const stack = `TypeError: ${message}\n    at g (/project/handlers/a.ts:2:3)\n    at /project/b.ts:4:5`;
  const frames = [
    { file: "/project/handlers/a.ts", line: 2, column: 3 },
    { file: "/project/b.ts", line: 4, column: 5 },
  ];
  expect(positionsIn(stack, "TypeError", message)).toEqual(frames);
  expect(positionsIn("Error\n    at g (/a.ts:1:2)", "Error", "")).toEqual([{ file: "/a.ts", line: 1, column: 2 }]);
  for (const text of ["", "x", "at (/a.ts:1:1)", "    at f (a.ts:1:1)", "    at f (node:fs:1:1)"])
    expect(positionsIn(text, "Error", "x")).toEqual([]);
});

test("a line that no longer exists gives no frame, and a file saved since is marked as changed", async () => {
  await using project = await createProject({ "handlers/a.ts": CODE });
  const file = join(project.path, "handlers", "a.ts");
  await mkdir(project.path, { recursive: true });
  expect(await project.at(`${file}:99:1`)).toBeNull();
  const stack = `Error: no\n    at f (${file}:1:1)`;
  await utimes(file, 100, 100);
  expect((await project.frame({ name: "Error", message: "no", stack }, 200_000))?.changed).toBeUndefined();
  expect((await project.frame({ name: "Error", message: "no", stack }, 50_000))?.changed).toBe(true);
  expect(await project.frame({ name: "Thrown", message: "no" }, 0)).toBeNull();
});

test.each(["/a b/x.ts", "/a (copy)/x.ts", "/a/[slug]/(group)/x.ts", "/src-old/x.ts", "/(x)/y.ts"])(
  "finds the position in a path with spaces or brackets: %s",
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
