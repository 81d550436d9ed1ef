import { expect, test } from "bun:test";
import { resolve } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { openHandlers } from "../../src/handlers/folder.ts";
import { filesOf } from "../../src/handlers/imports.ts";
import { serverWith, temporaryFolder, writeHandlers } from "../harness.ts";

const IMPORTS = `
  import { Type } from "${resolve(import.meta.dir, "../../node_modules/@sinclair/typebox")}";
  import plans from "../plans.json";
  import greeting from "./_greeting.txt" with { type: "text" };
  import { shout } from "../app/shout.ts";
  export default ({ log }) => log.info(shout(greeting.trim() + " " + plans.free + " " + Type.String().type));
`;

async function project() {
  const folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": IMPORTS, "_greeting.txt": "hello\n" });
  await Bun.write(`${folder.path}/plans.json`, JSON.stringify({ free: 0 }));
  await Bun.write(`${folder.path}/app/shout.ts`, `export const shout = (text: string): string => text.toUpperCase();`);
  return folder;
}

test("a handler imports packages, JSON, text, and TypeScript from the rest of the project", async () => {
  await using folder = await project();
  await using server = await serverWith({}, {}, folder.path);
  await server.post(sample("user.created"), { id: "msg_1" });
  const { runs } = await server.ended("msg_1");
  expect(runs[0]).toMatchObject({ state: "done", attempts: [{ log: [{ message: "HELLO 0 STRING" }] }] });
});

test("lists the files that a handler imports, in any directory, without packages", async () => {
  await using folder = await project();
  const files = await filesOf(`${folder.path}/handlers/user.created.ts`);
  expect([...files].map((file) => file.slice(folder.path.length + 1)).toSorted()).toEqual([
    "app/shout.ts",
    "handlers/_greeting.txt",
    "handlers/user.created.ts",
    "plans.json",
  ]);
});

test("a change of an imported file is a change of the handler", async () => {
  await using folder = await project();
  const handlers = await openHandlers(`${folder.path}/handlers`, () => undefined);
  const changeKinds: string[] = [];
  handlers.watch((changes) => changeKinds.push(...changes.map(({ kind }) => kind)));
  for (const [file, text] of Object.entries({
    "plans.json": `{ "free": 10 }`,
    "app/shout.ts": `export const shout = (text: string) => text + "!";`,
    "handlers/_greeting.txt": "good morning",
  })) {
    const before = changeKinds.length;
    await Bun.write(`${folder.path}/${file}`, text);
    await handlers.look();
    expect([file, ...changeKinds.slice(before)]).toEqual([file, "live"]);
  }
  const lines: unknown[] = [];
  const { code } = handlers.table.get("user.created") ?? {};
  await code?.run({ log: { info: (line: string) => lines.push(line) } } as never);
  expect(lines).toEqual(["good morning 10 string!"]);
  handlers.close();
});
