// What `on()` is given besides a function, and `_dead.ts`, in whole servers.

import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { type Files, post, serverWith, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

const PLAN = `
  import { on, t } from "bellhop";
  export default on(
    "user.updated",
    { attempts: 3, timeout: "5s", data: t.Object({ public_metadata: t.Object({ plan: t.String() }) }) },
    ({ data, log }) => log.info("plan " + data.public_metadata.plan.toUpperCase()),
  );`;

const user = (public_metadata: unknown) =>
  sample("user.updated", { overrides: { data: { public_metadata } as never } });

test("an event that does not fit the handler's schema is dead at once, with the path and the reason, and one that fits runs", async () => {
  await using server = await serverWith({ "user.updated.ts": PLAN });
  for (const [id, metadata, reason] of [
    ["none", {}, "data.public_metadata.plan: expected string"],
    ["number", { plan: 5 }, "data.public_metadata.plan: expected string"],
    ["null", null, "data.public_metadata: expected object"],
  ] as const) {
    await server.post(user(metadata), { id });
    const { runs } = await server.ended(id);
    expect(runs).toMatchObject([
      {
        state: "dead",
        reason: expect.stringContaining(reason),
        attempts: [{ outcome: "dead", error: { name: "DataError", message: expect.stringContaining(reason) } }],
      },
    ]);
  }
  await server.post(user({ plan: "pro", more: true }), { id: "fits" });
  expect((await server.ended("fits")).runs).toMatchObject([
    { state: "done", attempts: [{ log: [{ message: "plan PRO" }] }] },
  ]);
});

test("a schema for a kind of events holds for each of them", async () => {
  const file = PLAN.replace('"user.updated"', '"user.*"');
  await using server = await serverWith({ "user.[action].ts": file });
  await server.post(user({ plan: "pro" }), { id: "updated" });
  await server.post(sample("user.deleted"), { id: "deleted" });
  expect((await server.ended("updated")).runs).toMatchObject([{ state: "done" }]);
  expect((await server.ended("deleted")).runs).toMatchObject([
    { state: "dead", reason: expect.stringContaining("data.public_metadata: expected object") },
  ]);
});

test("data that is no schema is a load error that shows what one looks like", async () => {
  await using server = await serverWith({
    "user.updated.ts": `import { on } from "bellhop"; export default on("user.updated", { data: "plan" as never }, () => 1);`,
  });
  expect(server.table().get("user.updated")?.error?.message).toContain("data: t.Object({ … })");
});

/** Writes each call to a file, a line of JSON each. */
const DEAD = `
  import { appendFileSync } from "node:fs";
  export default (dead) => appendFileSync(import.meta.dir + "/../told.log", JSON.stringify(dead) + "\\n");`;
const FAILS = `import { on } from "bellhop"; export default on("user.created", { attempts: 1 }, () => { throw new Error("the mailer is down"); });`;
const FAILS_TWICE = `import { on, RetryAfterError } from "bellhop"; export default on("session.created", { attempts: 2 }, ({ run }) => { throw new RetryAfterError("no " + run.attempt, 10); });`;
const GOOD = `export default () => 1;`;

async function told(folder: string): Promise<Record<string, unknown>[]> {
  const file = Bun.file(join(folder, "told.log"));
  const text = (await file.exists()) ? await file.text() : "";
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

test("_dead.ts is told of each run that dies, once, with the run, its delivery and the error", async () => {
  await using server = await serverWith({
    "_dead.ts": DEAD,
    "user.created.ts": FAILS,
    "session.created.ts": FAILS_TWICE,
    "user.updated.ts": PLAN,
    "role.created.ts": GOOD,
  });
  await server.post(sample("user.created", { overrides: { data: { id: "user_1" } } }), { id: "one" });
  await server.post(sample("session.created"), { id: "two" });
  await server.post(user({}), { id: "three" });
  await server.post(sample("role.created"), { id: "four" });
  for (const id of ["one", "two", "three", "four"]) await server.ended(id);
  await until("three calls", async () => (await told(server.folder)).length >= 3);
  await Bun.sleep(50);
  const calls = await told(server.folder);
  expect(calls).toHaveLength(3);
  const of = (id: string) => calls.find(({ delivery }) => (delivery as { id: string }).id === id);
  expect(of("one")).toEqual({
    run: { handler: "user.created", attempts: 1, reason: "gave up after 1 attempt", replay: false },
    delivery: {
      id: "one",
      type: "user.created",
      subject: "user_1",
      receivedAt: expect.any(String),
      sample: expect.any(Boolean),
    },
    error: { name: "Error", message: "the mailer is down", stack: expect.stringContaining("user.created.ts") },
  });
  expect(of("two")).toMatchObject({
    run: { handler: "session.created", attempts: 2 },
    error: { name: "RetryAfterError", message: "no 2" },
  });
  expect(of("three")).toMatchObject({
    run: { handler: "user.updated", attempts: 1 },
    error: { name: "DataError", message: expect.stringContaining("data.public_metadata.plan") },
  });
});

for (const [what, body] of Object.entries({
  throws: `() => { throw new Error("no Slack"); }`,
  rejects: `async () => { await 1; throw new Error("no Slack"); }`,
  "calls process.exit()": `() => process.exit(1)`,
  "throws later": `() => { setTimeout(() => { throw new Error("no Slack"); }, 5); }`,
  hangs: `() => new Promise(() => {})`,
}))
  test(`a _dead.ts that ${what} delays and repeats nothing`, async () => {
    await using server = await serverWith(
      { "_dead.ts": `export default ${body};`, "user.created.ts": FAILS, "user.updated.ts": GOOD },
      { CONCURRENCY: "1", SHUTDOWN_SECONDS: "1" },
    );
    const data = { id: "user_1" };
    for (const id of ["one", "two"]) await server.post(sample("user.created", { overrides: { data } }), { id });
    await server.post(sample("user.updated", { overrides: { data } }), { id: "next" });
    for (const id of ["one", "two"])
      expect((await server.ended(id, 2_000)).runs).toMatchObject([{ state: "dead", attempts: [{}] }]);
    expect((await server.ended("next", 2_000)).runs).toMatchObject([{ state: "done" }]);
    if (what === "hangs") return;
    const words = what === "throws later" ? "threw an uncaught error" : "_dead.ts failed";
    await until("two lines", () => server.lines.filter(({ msg }) => String(msg).includes(words)).length === 2);
  }, 20_000);

test("a _dead.ts that does not load is told at the start, and its changes are told like those of a handler", async () => {
  const files: Files = { "_dead.ts": "export default (", "user.created.ts": FAILS };
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, files);
  await using server = await spawnServer(folder.path, { mode: "dev" });
  const says = (words: string | RegExp) => until(String(words), () => server.output().search(words) >= 0 || undefined);
  await says(/_dead\.ts:1:\d+ does not load, dead runs are only logged/);
  await writeHandlers(folder.path, { "_dead.ts": DEAD });
  await says("_dead.ts is live: it is called for each dead run");
  await post(server.url, sample("user.created"), { id: "one" });
  await until("the call", async () => (await told(folder.path)).length === 1);
  await writeHandlers(folder.path, { "_dead.ts": "export const x = 1;" });
  await says(/_dead\.ts does not load, the last good version still runs: .* must export a function by default/);
  await post(server.url, sample("user.created"), { id: "two" });
  await until("the call", async () => (await told(folder.path)).length === 2);
  await rm(join(folder.path, "handlers/_dead.ts"));
  await says("_dead.ts is gone: dead runs are only logged");
  await post(server.url, sample("user.created"), { id: "three" });
  await server.ended("three");
  await Bun.sleep(50);
  expect(await told(folder.path)).toHaveLength(2);
}, 20_000);
