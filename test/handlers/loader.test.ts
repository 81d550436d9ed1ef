import { expect, test } from "bun:test";
import { symlink } from "node:fs/promises";
import { join } from "node:path";

import { createLog, currentRun } from "../../src/handlers/context.ts";
import { type Handler, type HandlerTable, loadHandlers } from "../../src/handlers/loader.ts";
import { NonRetriableError, on, RetryAfterError } from "../../src/index.ts";
import { type Files, temporaryFolder, until, writeHandlers } from "../harness.ts";

const GOOD = `import { on } from "bellhop"; export default on("session.created", () => "good");`;

/** Uncaught errors of handlers, with the handler whose run threw them. */
type Late = { error: unknown; handler: string | undefined }[];

/** Loads these files and a good one, which must load even when the others fail. */
async function load(files: Files, options?: Parameters<typeof loadHandlers>[2]) {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  await writeHandlers(path, { "session.created.ts": GOOD, ...files });
  const late: Late = [];
  const onError = (error: unknown) => late.push({ error, handler: currentRun.getStore()?.handler });
  const table = await loadHandlers(join(path, "handlers"), onError, options);
  expect(call(table, "session.created")).toBe("good");
  const held = opened.move();
  return { table, late, path, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

function call(table: HandlerTable, name: string, context: object = {}): unknown {
  const handler = table.get(name);
  if (!handler?.code) throw new Error(`${name} did not load: ${JSON.stringify(handler?.error)}`);
  const { run, version } = handler.code;
  const { log } = createLog(() => undefined);
  const current = { handler: name, delivery: "msg_1", log, fail: () => undefined };
  return version.enter(() => currentRun.run(current, () => run(context as never)));
}

/** The only handler that did not load. */
function broken(table: HandlerTable): Handler {
  const handlers = table.handlers.filter(({ code }) => !code);
  expect(handlers).toHaveLength(1);
  expect(table.loaded).toEqual(new Set(table.handlers.filter(({ code }) => code).map(({ name }) => name)));
  return handlers[0]!;
}

test("a folder becomes a table of handlers, with their events, lanes and options", async () => {
  await using folder = await load({
    "user.created.ts": `import { on } from "bellhop"; export default on("user.created", { attempts: 5, timeout: "2m", stale: "skip" }, () => 1);`,
    "user.[action].ts": `import { on } from "bellhop"; export default on("user.*", () => 2);`,
    "[...event].ts": `import { on } from "bellhop"; export default on("*", () => 3);`,
    "user.created/crm.js": `export default () => 4;`,
  });
  expect(folder.table.handlers.map(({ code: _, ...handler }) => handler)).toEqual([
    { name: "[...event]", file: "[...event].ts", event: "*", lane: "[...event]", options: {} },
    { name: "session.created", file: "session.created.ts", event: "session.created", lane: "session", options: {} },
    {
      name: "user.[action]",
      file: "user.[action].ts",
      event: "user.*",
      lane: "user.[action]",
      options: {},
    },
    {
      name: "user.created",
      file: "user.created.ts",
      event: "user.created",
      lane: "user",
      options: { attempts: 5, timeout: "2m", stale: "skip" },
    },
    { name: "user.created/crm", file: "user.created/crm.js", event: "user.created", lane: "user/crm", options: {} },
  ]);
  const matching = (type: string) => folder.table.match(type).map(({ name }) => call(folder.table, name));
  expect(matching("user.created")).toEqual([3, 2, 1, 4]);
  expect(matching("user.updated")).toEqual([3, 2]);
  expect(matching("passkey.created")).toEqual([3]);
});

test("a plain function is a handler", async () => {
  await using folder = await load({ "user.created.js": `export default ({ data }) => data.id;` });
  expect(call(folder.table, "user.created", { data: { id: "user_1" } })).toBe("user_1");
});

test("handlers may be CommonJS", async () => {
  await using folder = await load({
    "user.updated.cjs": `const { on } = require("bellhop"); module.exports = on("user.updated", { attempts: 2 }, () => 5);`,
    "user.deleted.cts": `const { on } = require("bellhop"); export = on("user.deleted", () => 6);`,
  });
  expect([call(folder.table, "user.updated"), call(folder.table, "user.deleted")]).toEqual([5, 6]);
  expect(folder.table.get("user.updated")?.options).toEqual({ attempts: 2 });
  expect(folder.table.notHandlers).toEqual([]);
});

test("loads shared code once, and not as a handler", async () => {
  await using folder = await load({
    "_count.ts": `let count = 0; export const next = () => (count += 1);`,
    "user.created.ts": `import { next } from "./_count.ts"; export default () => next();`,
    "user.updated.ts": `import { next } from "./_count.ts"; export default () => next();`,
  });
  expect([call(folder.table, "user.created"), call(folder.table, "user.updated")]).toEqual([1, 2]);
  expect(folder.table.notHandlers).toEqual([{ file: "_count.ts", reason: expect.any(String), quiet: true }]);
});

test("a function can handle several events, each with its own options", async () => {
  await using folder = await load({
    "_upsert.ts": `export const upsert = ({ event }: { event: { type: string } }) => event.type;`,
    "user.created.ts": `import { on } from "bellhop"; import { upsert } from "./_upsert.ts"; export default on("user.created", { attempts: 2 }, upsert);`,
    "user.updated.ts": `import { on } from "bellhop"; import { upsert } from "./_upsert.ts"; export default on("user.updated", { attempts: 3 }, upsert);`,
  });
  for (const [name, attempts] of Object.entries({ "user.created": 2, "user.updated": 3 })) {
    expect(folder.table.get(name)?.options).toEqual({ attempts });
    expect(call(folder.table, name, { event: { type: name } })).toBe(name);
  }
});

test("handlers anywhere import the same error classes from bellhop as the server", async () => {
  await using folder = await load({
    "user.created.ts": `import { NonRetriableError } from "bellhop"; export default () => { throw new NonRetriableError("no"); };`,
    "user.updated.ts": `import { RetryAfterError } from "bellhop"; export default () => { throw new RetryAfterError("no", "30s"); };`,
    "user.deleted.ts": `import { on } from "bellhop"; export default () => on;`,
  });
  expect(() => call(folder.table, "user.created")).toThrow(NonRetriableError);
  expect(() => call(folder.table, "user.updated")).toThrow(RetryAfterError);
  expect(call(folder.table, "user.deleted")).toBe(on);
});

test("reports a syntax error with its position and line, and loads the other files", async () => {
  await using folder = await load({ "user.created.ts": `const fine = 1;\n\n  export default ( => fine;\n` });
  const { file, error, options } = broken(folder.table);
  expect({ file, options }).toEqual({ file: "user.created.ts", options: {} });
  expect(error?.where).toMatch(/^user\.created\.ts:3:\d+$/);
  expect(error?.source).toBe("export default ( => fine;");
  expect(error?.message).toBeTruthy();
});

test("reports a syntax error in shared code with the position in the shared file", async () => {
  await using folder = await load({
    "_lib.ts": `export const x = ;\n`,
    "user.created.ts": `import { x } from "./_lib.ts"; export default () => x;`,
  });
  expect(broken(folder.table).error).toMatchObject({
    where: expect.stringMatching(/^_lib\.ts:1:/),
    source: "export const x = ;",
  });
});

test("reports a missing import with its position and line", async () => {
  await using folder = await load({
    "user.created.ts": `\nimport { x } from "./_gone.ts";\nexport default () => x;\n`,
  });
  const { error } = broken(folder.table);
  expect(error).toMatchObject({
    message: expect.stringContaining("_gone.ts"),
    source: `import { x } from "./_gone.ts";`,
  });
  expect(error?.where).toMatch(/^user\.created\.ts:2:\d+$/);
});

test("reports a missing package with its name", async () => {
  await using folder = await load({
    "user.created.ts": `import x from "no-such-package-here";\nexport default () => x;\n`,
  });
  const { error } = broken(folder.table);
  expect(error?.message).toContain("no-such-package-here");
  expect(error?.where).toStartWith("user.created.ts:1:");
});

test("reports an import that the module does not export with its name", async () => {
  await using folder = await load({
    "_lib.ts": `export const here = 1;`,
    "user.created.ts": `import { gone } from "./_lib.ts";\nexport default () => gone;\n`,
  });
  expect(broken(folder.table).error?.message).toContain("gone");
});

test("reports an error at the top level with its position and line", async () => {
  await using folder = await load({
    "user.created.ts": `const key = undefined;\nif (!key) throw new Error("RESEND_KEY is not set");\nexport default () => key;\n`,
  });
  const { error } = broken(folder.table);
  expect(error).toMatchObject({ message: "RESEND_KEY is not set", source: expect.stringContaining("RESEND_KEY") });
  expect(error?.where).toMatch(/^user\.created\.ts:2:\d+$/);
});

test.each([
  ["null"],
  ["undefined"],
  ['"text"'],
  ["{ code: 1 }"],
  ["new Proxy({}, { get() { throw 1; } })"],
  ["new AggregateError([])"],
  ["new AggregateError([null])"],
])("a file that throws %s at its top level does not load", async (thrown) => {
  await using folder = await load({ "user.created.ts": `throw ${thrown};` });
  expect(broken(folder.table).error).toMatchObject({
    where: expect.stringContaining("user.created.ts"),
    message: expect.any(String),
  });
});

test("reports a file without exports with what to export", async () => {
  await using folder = await load({ "user.created.ts": `export const handler = () => 1;` });
  const { error } = broken(folder.table);
  expect(error).toEqual({
    where: "user.created.ts",
    message: expect.stringContaining("user.created.ts must export a function by default. It exports nothing"),
  });
  expect(error?.message).toContain('export default on("user.created", ({ data }) => { … });');
});

test("reports a default export that is not a function with its type", async () => {
  await using folder = await load({ "user.created.ts": `export default { handler() {} };` });
  expect(broken(folder.table).error?.message).toContain("It exports object by default");
});

test("reports a file that calls on() and does not export the result", async () => {
  await using folder = await load({ "user.created.ts": `import { on } from "bellhop"; on("user.created", () => 1);` });
  expect(broken(folder.table).error?.message).toContain("It calls on(), but does not export what on() returns.");
});

test("reports the event of on() and the file's event when they differ", async () => {
  await using folder = await load({
    "user.created.ts": `import { on } from "bellhop"; export default on("user.updated", () => 1);`,
  });
  const { error } = broken(folder.table);
  expect(error?.message).toContain("is named for user.created");
  expect(error?.message).toContain('on("user.updated", …)');
});

test("reports on() without a function with the line of the call", async () => {
  await using folder = await load({
    "user.created.ts": `import { on } from "bellhop";\nexport default on("user.created", { attempts: 2 });\n`,
  });
  const { error } = broken(folder.table);
  expect(error?.message).toContain('on("user.created", …) got no function');
  expect(error?.where).toMatch(/^user\.created\.ts:2:\d+$/);
});

test.each([
  ["attemps: 3", "there is no option attemps; did you mean attempts?"],
  ["colour: 3", "there is no option colour; there are attempts, timeout, stale, breaker, data"],
  ["attempts: 0", "attempts is 0, expected a whole number from 1"],
  ["attempts: 1.5", "attempts is 1.5"],
  ['attempts: "5"', "attempts is"],
  ["timeout: 0", "timeout is 0"],
  ['timeout: "soon"', 'timeout is "soon", expected milliseconds or a duration, like timeout: "30s"'],
  ["timeout: -1", "timeout is -1"],
  ["timeout: null", "timeout is null"],
  ['breaker: "off"', 'breaker is "off", expected true or false'],
  ['stale: "drop"', 'stale is "drop", expected "run" or "skip"'],
])("refuses the option %s with what is expected", async (option, message) => {
  await using folder = await load({
    "user.created.ts": `import { on } from "bellhop"; export default on("user.created", { ${option} } as never, () => 1);`,
  });
  expect(broken(folder.table).error).toEqual({
    where: "user.created.ts",
    message: expect.stringContaining(message),
  });
});

test("loads a handler of an unknown event, with a warning that suggests a known event", async () => {
  await using folder = await load({
    "user.create.ts": `export default () => 1;`,
    "passkey.minted.ts": `export default () => 1;`,
  });
  expect(folder.table.get("user.create")?.warning).toContain("did you mean user.created?");
  expect(folder.table.get("passkey.minted")?.warning).toContain("passkey.minted");
  expect(folder.table.get("session.created")?.warning).toBeUndefined();
  expect(folder.table.loaded.size).toBe(3);
});

test("lists files that are not handlers, and which of them are reported", async () => {
  await using folder = await load({
    "README.md": "",
    "user.ts": "export default () => 1;",
    "user.created.test.ts": `throw new Error("never loaded");`,
    "node_modules/x/user.created.ts": `throw new Error("never loaded");`,
  });
  expect(folder.table.notHandlers.map(({ file, quiet }) => [file, quiet])).toEqual([
    ["README.md", true],
    ["user.created.test.ts", true],
    ["user.ts", false],
  ]);
  expect(folder.table.handlers).toHaveLength(1);
});

test("loads the first of two files whose names differ only in case or extension, and names the other", async () => {
  await using folder = await load({
    "user.created.js": `export default () => "js";`,
    "user.created.ts": `export default () => "ts";`,
    "organizationmembership.created.ts": `export default () => "lower";`,
    "organizationMembership.created.ts": `export default () => "camel";`,
  });
  expect(call(folder.table, "user.created")).toBe("js");
  expect(call(folder.table, "organizationMembership.created")).toBe("camel");
  expect(folder.table.notHandlers).toEqual([
    {
      file: "organizationmembership.created.ts",
      reason: "has the same name as organizationMembership.created.ts",
      quiet: false,
    },
    { file: "user.created.ts", reason: "has the same name as user.created.js", quiet: false },
  ]);
});

test("reports a missing folder with how to create it", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "handlers");
  const table = await loadHandlers(dir, () => undefined);
  expect(table).toMatchObject({
    handlers: [],
    notHandlers: [{ file: dir, quiet: false, reason: expect.stringContaining("bun new") }],
  });
  expect(table.match("user.created")).toEqual([]);
});

test("loads an empty folder without handlers or warnings", async () => {
  await using folder = await temporaryFolder();
  const table = await loadHandlers(folder.path, () => undefined);
  expect(table).toMatchObject({ handlers: [], notHandlers: [] });
});

test("loads a handler through a symbolic link", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "_real/code.ts": `export default () => "linked";` });
  const dir = join(folder.path, "handlers");
  await symlink(join(dir, "_real/code.ts"), join(dir, "user.created.ts"));
  const table = await loadHandlers(dir, () => undefined);
  expect(call(table, "user.created")).toBe("linked");
});

test("a top-level await that never ends does not keep other files from loading", async () => {
  await using folder = await load(
    {
      "organization.created.ts": `await new Promise(() => {}); export default () => 1;`,
      "user.created.ts": `await new Promise((resolve) => setTimeout(resolve, 5)); export default () => "slow";`,
    },
    { timeoutMs: 150 },
  );
  expect(broken(folder.table).error).toEqual({
    where: "organization.created.ts",
    message: "did not finish loading within 150 ms: does it await something at its top level?",
  });
  expect(call(folder.table, "user.created")).toBe("slow");
});

test("process.exit() in a handler throws, also as globalThis.process.exit() and at the top level", async () => {
  await using folder = await load({
    "user.created.ts": `export default () => process.exit(3);`,
    "user.updated.ts": `export default async () => { await 1; globalThis.process.exit(); };`,
    "user.deleted.ts": `import { exit } from "node:process"; export default () => exit(4);`,
    "organization.created.ts": `process.exit(5); export default () => 1;`,
  });
  expect(() => call(folder.table, "user.created")).toThrow("process.exit(3)");
  const late = await Promise.resolve(call(folder.table, "user.updated")).catch((error: unknown) => error);
  expect(String(late)).toContain("process.exit()");
  expect(() => call(folder.table, "user.deleted")).toThrow("process.exit(4)");
  expect(broken(folder.table).error?.message).toContain("process.exit(5)");
});

test("reports uncaught errors of handlers, those of timers with their run", async () => {
  await using folder = await load({
    "user.created.ts": `export default () => { setTimeout(() => { throw new Error("late"); }, 5); };`,
    "user.updated.ts": `export default () => { void Promise.reject(new Error("floating")); };`,
    "user.deleted.ts": `export default () => { void (async () => { await Bun.sleep(5); throw new Error("detached"); })(); };`,
  });
  for (const name of ["user.created", "user.updated", "user.deleted"]) call(folder.table, name);
  await until("three late errors", () => folder.late.length === 3);
  const handlerOf = Object.fromEntries(folder.late.map(({ error, handler }) => [(error as Error).message, handler]));
  expect(Object.keys(handlerOf).toSorted()).toEqual(["detached", "floating", "late"]);
  expect(handlerOf.late).toBe("user.created");
});
