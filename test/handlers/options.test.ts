// The options of `on()` and `_dead.ts`, in whole servers.

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

test("a run is dead at once, with the path and the reason, when its event does not match the handler's schema", async () => {
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
  await server.post(user({ plan: "pro", more: true }), { id: "valid" });
  expect((await server.ended("valid")).runs).toMatchObject([
    { state: "done", attempts: [{ log: [{ message: "plan PRO" }] }] },
  ]);
});

test("a schema of an event pattern applies to every matching event", async () => {
  const file = PLAN.replace('"user.updated"', '"user.*"');
  await using server = await serverWith({ "user.[action].ts": file });
  await server.post(user({ plan: "pro" }), { id: "updated" });
  await server.post(sample("user.deleted"), { id: "deleted" });
  expect((await server.ended("updated")).runs).toMatchObject([{ state: "done" }]);
  expect((await server.ended("deleted")).runs).toMatchObject([
    { state: "dead", reason: expect.stringContaining("data.public_metadata: expected object") },
  ]);
});

test("an invalid `data` option is a load error with a correct example", async () => {
  await using server = await serverWith({
    "user.updated.ts": `import { on } from "bellhop"; export default on("user.updated", { data: "plan" as never }, () => 1);`,
  });
  expect(server.table().get("user.updated")?.error?.message).toContain("data: t.Object({ … })");
});

/** Appends each call to a file as a line of JSON. */
const LOG_DEAD = `
  import { appendFileSync } from "node:fs";
  export default (dead) => appendFileSync(import.meta.dir + "/../dead.log", JSON.stringify(dead) + "\\n");`;
const FAILS = `import { on } from "bellhop"; export default on("user.created", { attempts: 1 }, () => { throw new Error("the mailer is down"); });`;
const FAILS_TWICE = `import { on, RetryAfterError } from "bellhop"; export default on("session.created", { attempts: 2 }, ({ run }) => { throw new RetryAfterError("no " + run.attempt, 10); });`;
const GOOD = `export default () => 1;`;

async function deadCalls(folder: string): Promise<Record<string, unknown>[]> {
  const file = Bun.file(join(folder, "dead.log"));
  const text = (await file.exists()) ? await file.text() : "";
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

test("calls _dead.ts once for each dead run, with the run, its delivery and the error", async () => {
  await using server = await serverWith({
    "_dead.ts": LOG_DEAD,
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
  await until("three calls", async () => (await deadCalls(server.folder)).length >= 3);
  await Bun.sleep(50);
  const calls = await deadCalls(server.folder);
  expect(calls).toHaveLength(3);
  const callOf = (id: string) => calls.find(({ delivery }) => (delivery as { id: string }).id === id);
  expect(callOf("one")).toEqual({
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
  expect(callOf("two")).toMatchObject({
    run: { handler: "session.created", attempts: 2 },
    error: { name: "RetryAfterError", message: "no 2" },
  });
  expect(callOf("three")).toMatchObject({
    run: { handler: "user.updated", attempts: 1 },
    error: { name: "DataError", message: expect.stringContaining("data.public_metadata.plan") },
  });
});

for (const [behaviour, body] of Object.entries({
  throws: `() => { throw new Error("no Slack"); }`,
  rejects: `async () => { await 1; throw new Error("no Slack"); }`,
  "calls process.exit()": `() => process.exit(1)`,
  "throws later": `() => { setTimeout(() => { throw new Error("no Slack"); }, 5); }`,
  hangs: `() => new Promise(() => {})`,
}))
  test(`a _dead.ts that ${behaviour} delays no run and repeats none`, async () => {
    await using server = await serverWith(
      { "_dead.ts": `export default ${body};`, "user.created.ts": FAILS, "user.updated.ts": GOOD },
      { CONCURRENCY: "1", SHUTDOWN_SECONDS: "1" },
    );
    const data = { id: "user_1" };
    for (const id of ["one", "two"]) await server.post(sample("user.created", { overrides: { data } }), { id });
    await server.post(sample("user.updated", { overrides: { data } }), { id: "next" });
    for (const id of ["one", "two"])
      expect((await server.ended(id, 8_000)).runs).toMatchObject([{ state: "dead", attempts: [{}] }]);
    expect((await server.ended("next", 8_000)).runs).toMatchObject([{ state: "done" }]);
    if (behaviour === "hangs") return;
    const message = behaviour === "throws later" ? "threw an uncaught error" : "_dead.ts failed";
    await until("two lines", () => server.lines.filter(({ msg }) => String(msg).includes(message)).length === 2);
  }, 20_000);

test("reports a _dead.ts that does not load at the start, and its changes like those of a handler", async () => {
  const files: Files = { "_dead.ts": "export default (", "user.created.ts": FAILS };
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, files);
  await using server = await spawnServer(folder.path, { mode: "dev" });
  const logged = (text: string | RegExp) => until(String(text), () => server.output().search(text) >= 0);
  await logged(/_dead\.ts:1:\d+ does not load, dead runs are only logged/);
  await writeHandlers(folder.path, { "_dead.ts": LOG_DEAD });
  await logged("_dead.ts is live: it is called for each dead run");
  await post(server.url, sample("user.created"), { id: "one" });
  await until("the call", async () => (await deadCalls(folder.path)).length === 1);
  await writeHandlers(folder.path, { "_dead.ts": "export const x = 1;" });
  await logged(/_dead\.ts does not load, the last good version still runs: .* must export a function by default/);
  await post(server.url, sample("user.created"), { id: "two" });
  await until("the call", async () => (await deadCalls(folder.path)).length === 2);
  await rm(join(folder.path, "handlers/_dead.ts"));
  await logged("_dead.ts is gone: dead runs are only logged");
  await post(server.url, sample("user.created"), { id: "three" });
  await server.ended("three");
  await Bun.sleep(50);
  expect(await deadCalls(folder.path)).toHaveLength(2);
}, 20_000);
