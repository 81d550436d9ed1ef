// Versions of the handlers' code: a run finishes on the version it started with, and a version is disposed after its last run.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { type Files, freePort, post, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { liveFolder, returning } from "./living.ts";

/** A `bun dev` server with these files. */
async function devServer(files: Files) {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  await writeHandlers(folder.path, files);
  const server = opened.use(await spawnServer(folder.path, { mode: "dev" }));
  const held = opened.move();
  const count = (text: string) => server.output().split(text).length - 1;
  return {
    ...server,
    path: folder.path,
    count,
    send: (type: "user.created" | "user.updated" | "session.created", id: string) =>
      post(server.url, sample(type), { id }),
    /** Saves files, and waits until a change is live. */
    async save(changed: Files) {
      const before = count(" is live");
      await writeHandlers(folder.path, changed);
      await until("the change to be live", () => count(" is live") > before);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

const slow = (version: string) =>
  `export default async ({ log }) => { log.info("started on ${version}"); await Bun.sleep(300); log.info("ended on ${version}"); };`;

test("a run in flight finishes on the version it started with, and its log is still stored", async () => {
  await using server = await devServer({ "user.created.ts": slow("one") });
  await server.send("user.created", "first");
  await until("the run to start", () => server.output().includes("started on one"));
  await server.save({ "user.created.ts": slow("two") });
  await server.send("user.created", "second");
  const messages = (view: Awaited<ReturnType<typeof server.ended>>) =>
    view.runs[0]?.attempts.flatMap(({ log = [] }) => log.map(({ message }) => message));
  expect(messages(await server.ended("first"))).toEqual(["started on one", "ended on one"]);
  expect(messages(await server.ended("second"))).toEqual(["started on two", "ended on two"]);
  expect(server.output()).toContain("ended on one");
});

test("timers and sockets of an old version are closed after its last run, and not before", async () => {
  const port = await freePort();
  const source = (result: string, setup: string) =>
    `import { appendFileSync } from "node:fs";
     ${setup}
     export default async ({ data }) => { if (data.id === "slow") await Bun.sleep(400); return "${result}"; };`;
  await using handlers = await liveFolder({});
  const ticks = () => Bun.file(join(handlers.path, "ticks")).size;
  await handlers.write(
    "user.created.ts",
    source(
      "one",
      `setInterval(() => appendFileSync(${JSON.stringify(join(handlers.path, "ticks"))}, "."), 10);
       Bun.serve({ port: ${port}, hostname: "127.0.0.1", fetch: () => new Response("old") });`,
    ),
  );
  await handlers.expectReported("new user.created.ts");
  const portResponse = () =>
    fetch(`http://127.0.0.1:${port}`, { headers: { connection: "close" } }).then(
      (response) => response.text(),
      () => "closed",
    );
  expect(await portResponse()).toBe("old");

  const { version } = handlers.folder.table.get("user.created")!.code!;
  const release = version.hold();
  const running = handlers.call("user.created", { data: { id: "slow" } });
  await handlers.write("user.created.ts", source("two", ""));
  await handlers.expectReported("live user.created.ts");
  // The old version's run is still in flight, so its server and timer stay open.
  expect(await portResponse()).toBe("old");
  const before = ticks();
  await until("another tick", () => ticks() > before);
  expect(await running).toBe("one");
  release();
  await until("the server to close", async () => (await portResponse()) === "closed");
  const after = ticks();
  await Bun.sleep(60);
  expect(ticks()).toBe(after);
});

test("the last good version of a file stays alive across reloads of other files", async () => {
  const counting = `let count = 0; setInterval(() => { count += 1; }, 5); export default () => count;`;
  await using handlers = await liveFolder({ "user.created.ts": counting, "user.updated.ts": returning(0) });
  await handlers.write("user.created.ts", "export default (");
  await handlers.expectReported("broken user.created.ts");
  for (let n = 1; n <= 3; n += 1) {
    await handlers.write("user.updated.ts", returning(`edit ${n}`));
    await handlers.expectReported("live user.updated.ts");
  }
  const before = Number(handlers.call("user.created"));
  await until("the timer to continue", () => Number(handlers.call("user.created")) > before);
  await handlers.write("user.created.ts", returning("fixed"));
  await handlers.expectReported("live user.created.ts");
  expect(handlers.call("user.created")).toBe("fixed");
});

test("all versions share one instance of bellhop, so that its errors are recognised after each reload", async () => {
  const file = (n: number) => `
    import { NonRetriableError, RetryAfterError } from "bellhop";
    export default ({ data, run }) => {
      if (run.attempt === 2) return;
      throw data.object === "user" ? new NonRetriableError("no ${n}") : new RetryAfterError("later ${n}", 10);
    };`;
  await using server = await devServer({ "user.created.ts": file(0), "session.created.ts": file(0) });
  for (let n = 1; n <= 4; n += 1) {
    await server.send("user.created", `user_${n}`);
    await server.send("session.created", `session_${n}`);
    expect((await server.ended(`user_${n}`)).runs).toMatchObject([
      { state: "dead", reason: "NonRetriableError", attempts: [{ error: { message: `no ${n - 1}` } }] },
    ]);
    expect((await server.ended(`session_${n}`)).runs).toMatchObject([
      { state: "done", attempts: [{ error: { name: "RetryAfterError" } }, {}] },
    ]);
    await server.save({ "user.created.ts": file(n), "session.created.ts": file(n) });
    await Bun.sleep(60);
  }
});

test("stores uncaught errors with their run, during the run and after its end", async () => {
  await using server = await devServer({
    "user.created.ts": `export default async () => { setTimeout(() => { throw new Error("meanwhile"); }, 5); await Bun.sleep(60); };`,
    "user.updated.ts": `export default () => { setTimeout(() => { throw new Error("afterwards"); }, 60); };`,
    "session.created.ts": `export default () => { setTimeout(() => process.exit(3), 30); };`,
  });
  for (const [type, id] of [
    ["user.created", "meanwhile"],
    ["user.updated", "afterwards"],
    ["session.created", "exit"],
  ] as const) {
    await server.send(type, id);
    expect((await server.ended(id)).runs).toMatchObject([{ state: "done" }]);
  }
  const stored = (id: string, text: string) =>
    until(`${text} with the run`, async () => JSON.stringify(await server.get(id)).includes(text));
  await stored("meanwhile", "not caught: ");
  await stored("meanwhile", "rror: meanwhile");
  await stored("afterwards", "not caught, after the run had ended: ");
  await stored("afterwards", "rror: afterwards");
  await stored("exit", "a handler called process.exit(3)");
  const logged = () => server.count("user.updated (afterwards) threw an uncaught error");
  await until("the log line", () => logged() > 0);
  expect(logged()).toBe(1);
  expect(server.process.exitCode).toBeNull();
});

test("logs an unhandled rejection with its file and line, and the server continues", async () => {
  await using server = await devServer({
    "user.created.ts": `const later = async () => { await Bun.sleep(5); throw new Error("floating"); };\nexport default () => { void later(); };`,
    "user.updated.ts": returning(1),
  });
  await server.send("user.created", "floats");
  expect((await server.ended("floats")).runs).toMatchObject([{ state: "done" }]);
  await until("the log line", () => /handlers\/user\.created\.ts:1:\d+ threw an uncaught error/.test(server.output()));
  expect(server.output()).toContain("floating");
  await server.send("user.updated", "good");
  expect((await server.ended("good")).runs).toMatchObject([{ state: "done" }]);
});

test("a handler that awaits forever in small steps times out, and other handlers run meanwhile", async () => {
  await using server = await devServer({
    "user.created.ts": `import { on } from "bellhop"; export default on("user.created", { attempts: 1, timeout: 2_000 }, async ({ signal }) => { while (!signal.aborted) await Bun.sleep(0); });`,
    "session.created.ts": returning(1),
  });
  await server.send("user.created", "forever");
  for (let n = 0; n < 5; n += 1) {
    await server.send("session.created", `other_${n}`);
    await server.ended(`other_${n}`);
  }
  expect((await server.get("forever"))?.runs).toMatchObject([{ state: "running" }]);
  expect((await server.ended("forever")).runs).toMatchObject([
    { state: "dead", attempts: [{ error: { name: "TimeoutError" } }] },
  ]);
});

test("stores 64 KB of a log of a million lines, and the server continues", async () => {
  await using server = await devServer({
    "user.created.ts": `export default () => { for (let n = 0; n < 1_000_000; n += 1) console.log("line", n); };`,
    "session.created.ts": returning(1),
  });
  const began = performance.now();
  await server.send("user.created", "flood");
  const [run] = (await server.ended("flood")).runs;
  console.log(`    a million lines took ${(performance.now() - began).toFixed(0)} ms`);
  const log = run?.attempts[0]?.log ?? [];
  expect(run?.state).toBe("done");
  expect(log.map(({ message }) => message).join("").length).toBeWithin(5_000, 65_700);
  expect(log.at(-1)?.message).toContain("the rest of this run's log is dropped");
  expect(server.output().length).toBeLessThan(1_000_000);
  await server.send("session.created", "good");
  await server.ended("good");
}, 20_000);

test("logs what a handler prints to the console with its name and delivery, and stores it with the run", async () => {
  await using server = await devServer({
    "user.created.ts": `
      console.log("at the top level");
      const { log } = console;
      export default async () => {
        console.debug("debugged");
        console.info("informed", { a: 1 });
        log("logged");
        await Bun.sleep(1);
        console.warn("warned");
        console.error(new TypeError("erred"));
        console.dir({ dir: true });
        console.table([{ column: "cell" }]);
        setTimeout(() => console.log("in a timer"), 1);
        await Bun.sleep(20);
      };`,
  });
  await server.send("user.created", "msg_1");
  const [run] = (await server.ended("msg_1")).runs;
  const lines = run?.attempts[0]?.log ?? [];
  expect(lines.map(({ level }) => level)).toEqual(["debug", "info", "info", "warn", "error", "info", "info", "info"]);
  const messages = ["debugged", "informed", "logged", "warned", "erred", "dir", "cell", "in a timer"];
  for (const [index, message] of messages.entries()) expect(lines[index]?.message).toContain(message);
  const printed = () =>
    server
      .output()
      .split("\n")
      .filter((line) => line.startsWith("{") && line.includes("user.created: "));
  await until("the last log line", () => printed().some((line) => line.includes("in a timer")));
  // `debug` is below the log's level.
  expect(printed()).toHaveLength(messages.length - 1);
  for (const line of printed()) expect(JSON.parse(line)).toMatchObject({ handler: "user.created", id: "msg_1" });
  expect(server.output().split("\n")).toContain("at the top level");
});
