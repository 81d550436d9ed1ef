// The changes that are reported when a new handler table replaces the old one.

import { expect, test } from "bun:test";

import { describe } from "../../src/handlers/folder.ts";
import type { Handler, HandlerTable } from "../../src/handlers/loader.ts";
import { readName } from "../../src/handlers/names.ts";
import { logChange } from "../../src/log.ts";
import type { Logger } from "../../src/logger.ts";
import { until } from "../harness.ts";
import { describeChange, liveFolder } from "./living.ts";

/** A handler table of these files. A text is the file's load error. */
function tableOf(files: Record<string, string | true>, dead?: HandlerTable["dead"]): HandlerTable {
  const handlers = Object.entries(files).flatMap(([file, state]): Handler[] => {
    const read = readName(file);
    if ("reason" in read) return [];
    // A file that fails to load has loaded before, so that its last good version stays in use.
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
    get: (name) => handlers.find((handler) => handler.name === name),
    loaded: new Set(),
    release: () => undefined,
    ...(dead && { dead }),
  };
}

const A = "user.created.ts";

test.each<[string, Record<string, string | true>, Record<string, string | true>, string[], string[]]>([
  ["no change", { [A]: true }, { [A]: true }, [], []],
  ["a new file", {}, { [A]: true }, [], [`new ${A}`]],
  ["a new file that does not load", {}, { [A]: "bad" }, [], [`broken ${A}`]],
  ["an edit", { [A]: true }, { [A]: true }, ["user.created"], [`live ${A}`]],
  ["a mistake", { [A]: true }, { [A]: "bad" }, ["user.created"], [`broken ${A}`]],
  ["the same mistake, saved again", { [A]: "bad" }, { [A]: "bad" }, ["user.created"], [`broken ${A}`]],
  ["the same mistake, and another file changed", { [A]: "bad" }, { [A]: "bad" }, [], []],
  ["another mistake", { [A]: "bad" }, { [A]: "worse" }, [], [`broken ${A}`]],
  ["a mistake that is fixed in an import", { [A]: "bad" }, { [A]: true }, [], [`live ${A}`]],
  ["a removed file", { [A]: true }, {}, [], [`gone ${A}`]],
  ["another extension", { [A]: true }, { "user.created.js": true }, [], ["live user.created.js"]],
  ["a rename", { [A]: true }, { "user.updated.ts": true }, [], ["new user.updated.ts", `gone ${A}`]],
  ["a file that is not a handler", {}, { "user.ts": true }, [], ["ignored user.ts"]],
  ["the same file that is not a handler", { "user.ts": true }, { "user.ts": true }, [], []],
  ["shared code", {}, { "_lib.ts": true }, [], []],
])("reports %s", (_, before, after, touched, lines) => {
  const changes = describe(tableOf(before), tableOf(after), (name) => touched.includes(name));
  expect(changes.map(describeChange)).toEqual(lines);
});

test("reports _dead.ts like a handler", () => {
  const file = "_dead.ts";
  const error = { where: file, message: "bad" };
  const changesOf = (before: HandlerTable["dead"], after: HandlerTable["dead"], touched = false) =>
    describe(tableOf({}, before), tableOf({}, after), () => touched).map(describeChange);
  expect(changesOf(undefined, { file })).toEqual(["dead _dead.ts live"]);
  expect(changesOf({ file }, { file })).toEqual([]);
  expect(changesOf({ file }, { file }, true)).toEqual(["dead _dead.ts live"]);
  expect(changesOf({ file }, { file, error })).toEqual(["dead _dead.ts broken"]);
  expect(changesOf({ file, error }, { file, error })).toEqual([]);
  expect(changesOf({ file, error }, { file })).toEqual(["dead _dead.ts live"]);
  expect(changesOf({ file }, undefined)).toEqual(["dead _dead.ts gone"]);
});

test("logs a mistake in an imported file with the handler and the line, and a missing folder by its name", async () => {
  await using handlers = await liveFolder({
    "user.created.ts": `import { x } from "./_lib.ts"; export default () => x;`,
  });
  await handlers.write("_lib.ts", "export const x = (\n");
  await until("the report", () => handlers.changes.some(({ kind }) => kind === "broken"));
  const lines: string[] = [];
  const push = (line: string) => void lines.push(line);
  const log = { error: push, warn: push, info: push } as unknown as Logger;
  for (const change of handlers.changes) logChange(log, "handlers", change);
  logChange(log, "handlers", { kind: "ignored", file: "handlers", reason: "is not a directory; create it" });
  expect(lines.at(-2)).toMatch(/^handlers\/user\.created\.ts does not load, .*: handlers\/_lib\.ts:1:\d+: /);
  expect(lines.at(-1)).toBe("handlers is not a directory; create it");
});
