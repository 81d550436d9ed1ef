// Whole servers with handlers that break the rules. The server continues, and the failure is recorded on the run.

import { expect, setDefaultTimeout, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { post, serverWith, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

// The machine may be slow, because other processes use it too.
setDefaultTimeout(20_000);

const GOOD = `import { on } from "bellhop"; export default on("session.created", () => undefined);`;

/** A handler for `user.created` with this body. */
const handler = (body: string, options = "{ attempts: 1 }") =>
  `import { NonRetriableError, on } from "bellhop";
   export default on("user.created", ${options}, async ({ data, log, signal }) => { ${body} });`;

const hostile: Record<string, [body: string, message: string]> = {
  throws: [`throw new Error("thrown");`, "thrown"],
  "throws nothing": [`throw undefined;`, "undefined"],
  "throws an error with a BigInt for a name": [`throw Object.assign(new Error("big"), { name: 10n });`, "big"],
  "throws a value that can't be inspected": [
    `throw new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } });`,
    "",
  ],
  "calls process.exit()": [`process.exit(7);`, "process.exit(7)"],
  "recurses without end": [`const f = (): number => f() + 1; f();`, "Maximum call stack"],
  "throws a NonRetriableError": [`throw new NonRetriableError("no use");`, "no use"],
};

for (const [behaviour, [body, message]] of Object.entries(hostile))
  test(`a handler that ${behaviour} fails its own run, and the server continues`, async () => {
    await using server = await serverWith({ "user.created.ts": handler(body), "session.created.ts": GOOD });
    await server.post(sample("user.created"), { id: "bad" });
    const { runs } = await server.ended("bad");
    expect(runs).toMatchObject([
      { state: "dead", attempts: [{ error: { message: expect.stringContaining(message) } }] },
    ]);
    expect((await server.post(sample("session.created"), { id: "good" })).status).toBe(200);
    expect((await server.ended("good")).runs).toMatchObject([{ state: "done" }]);
  });

const uncaught: Record<string, string> = {
  "an error whose stack is a number": `void Promise.reject(Object.assign(new Error("x"), { stack: 5 }));`,
  "an error whose stack throws": `setTimeout(() => {
    throw Object.defineProperty(new Error("x"), "stack", { get() { throw new Error("no"); } });
  }, 5);`,
  "a value that throws when it is inspected": `setTimeout(() => {
    throw { [Symbol.for("nodejs.util.inspect.custom")]() { throw new Error("no"); } };
  }, 5); await Bun.sleep(30);`,
  "a value that can't be inspected": `setTimeout(() => {
    throw new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } });
  }, 5);`,
};

for (const [value, body] of Object.entries(uncaught))
  test(`a handler that throws ${value} outside its run is logged, and the server continues`, async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, { "user.created.ts": handler(body), "session.created.ts": GOOD });
    await using server = await spawnServer(folder.path);
    await post(server.url, sample("user.created"), { id: "bad" });
    await until("the log line", () => server.output().includes("threw an uncaught error") || undefined);
    await post(server.url, sample("session.created"), { id: "good" });
    expect((await server.ended("good")).runs).toMatchObject([{ state: "done" }]);
  });

const thenables: Record<string, string> = {
  "throws in a timer": `then(done) { setTimeout(() => { throw new Error("late"); }, 5); setTimeout(done, 1); }`,
  "forgets a promise that rejects": `then(done) { void Promise.reject(new Error("late")); setTimeout(done, 1); }`,
  "calls process.exit()": `then() { process.exit(7); }`,
};

for (const [behaviour, then] of Object.entries(thenables))
  test(`a handler that returns a query that ${behaviour} when it is awaited does not end the server`, async () => {
    await using folder = await temporaryFolder();
    const query = `import { on } from "bellhop"; export default on("user.created", { attempts: 1 }, () => ({ ${then} }));`;
    await writeHandlers(folder.path, { "user.created.ts": query, "session.created.ts": GOOD });
    await using server = await spawnServer(folder.path);
    await post(server.url, sample("user.created"), { id: "bad" });
    await server.ended("bad");
    await Bun.sleep(50);
    await post(server.url, sample("session.created"), { id: "good" });
    expect((await server.ended("good")).runs).toMatchObject([{ state: "done" }]);
  });

test("stores what a returned query prints with its run", async () => {
  const query = `export default () => ({ then(done) { console.log("in the query"); done(); } });`;
  await using server = await serverWith({ "user.created.ts": query });
  await server.post(sample("user.created"), { id: "msg_1" });
  const { runs } = await server.ended("msg_1");
  expect(runs[0]?.attempts[0]?.log).toMatchObject([{ message: "in the query" }]);
});

/** Bodies that throw outside their run, and whether the error can be attributed to the run. */
const late: Record<string, [body: string, isAttributed: boolean]> = {
  "throws in a timer after its end": [`setTimeout(() => { throw new Error("late"); }, 5);`, true],
  "forgets to await a promise that rejects": [`void Promise.reject(new Error("late"));`, false],
  "throws when its signal is aborted": [
    `signal.addEventListener("abort", () => { throw new Error("late"); }); await new Promise(() => {});`,
    true,
  ],
  "rejects when its signal is aborted": [
    `signal.onabort = async () => { await 1; throw new Error("late"); }; await new Promise(() => {});`,
    true,
  ],
};

for (const [behaviour, [body, isAttributed]] of Object.entries(late))
  test(`a handler that ${behaviour} is logged, and the server continues`, async () => {
    await using server = await serverWith({
      "user.created.ts": handler(body, "{ attempts: 1, timeout: 60 }"),
      "session.created.ts": GOOD,
    });
    await server.post(sample("user.created"), { id: "bad" });
    await server.ended("bad");
    const line = await until("the log line", () =>
      server.lines.find(({ msg }) => String(msg).includes("threw an uncaught error")),
    );
    expect(line).toMatchObject({ level: 50, err: { message: "late" } });
    if (isAttributed) expect(line).toMatchObject({ handler: "user.created", id: "bad" });
    await server.post(sample("session.created"), { id: "good" });
    expect((await server.ended("good")).runs).toMatchObject([{ state: "done" }]);
  });

test("a handler that floods its log keeps a part of it, and delays no other handler", async () => {
  await using server = await serverWith({
    "user.created.ts": handler(`for (let n = 0; n < 200_000; n += 1) log.debug("flood " + n);`),
    "session.created.ts": GOOD,
  });
  await server.post(sample("user.created"), { id: "flood" });
  await server.post(sample("session.created"), { id: "good" });
  await server.ended("good");
  const [run] = (await server.ended("flood")).runs;
  expect(run?.state).toBe("done");
  const log = run?.attempts[0]?.log ?? [];
  expect(JSON.stringify(log).length).toBeLessThan(200_000);
  expect(server.lines.filter(({ msg }) => String(msg).includes("flood")).length).toBe(log.length);
});

test("runs of a file that does not load wait for it, and run after a restart with the corrected file", async () => {
  await using folder = await temporaryFolder();
  const updated = handler("").replace("user.created", "user.updated");
  {
    await using server = await serverWith(
      { "user.created.ts": "export default (", "user.updated.ts": updated },
      {},
      folder.path,
    );
    const data = { id: "user_1" };
    await server.post(sample("user.created", { overrides: { data } }), { id: "waits" });
    await server.post(sample("user.updated", { overrides: { data } }), { id: "other" });
    // Only its own runs wait for a file that does not load.
    expect((await server.ended("other")).runs).toMatchObject([{ state: "done" }]);
    expect((await server.get("waits"))?.runs).toMatchObject([{ state: "waiting", parked: true, attempts: [] }]);
  }
  await using server = await serverWith({ "user.created.ts": handler("log.info(data.id);") }, {}, folder.path);
  expect((await server.ended("waits")).runs).toMatchObject([
    { state: "done", parked: false, attempts: [{ log: [{ message: "user_1" }] }] },
  ]);
});

test("a server full of misbehaving handlers keeps receiving and running deliveries", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "session.created.ts": GOOD,
    "user.created.ts": handler(
      `setTimeout(() => { throw new Error("late"); });
       void Promise.reject(new Error("floating"));
       signal.addEventListener("abort", () => { throw new Error("aborted"); });
       globalThis.process.emit("nothing");
       process.exit(1);`,
    ),
    "user.created/hang.ts": handler(
      `signal.addEventListener("abort", () => { throw new Error("aborted"); }); await new Promise(() => {});`,
      "{ attempts: 1, timeout: 50 }",
    ),
    "user.created/worse.ts": handler(
      `queueMicrotask(() => { throw new Error("micro"); }); throw { toString() { throw 1; } };`,
    ),
    "user.created/exit.ts": handler(`setTimeout(() => process.exit(1)); process.nextTick(() => process.exit(1));`),
    "user.updated.ts": "import './_gone.ts'",
    "user.deleted.ts": "process.exit(1)",
    "organization.created.ts": "throw null",
  });
  await using server = await spawnServer(folder.path);
  for (let n = 0; n < 5; n += 1) await post(server.url, sample("user.created"), { id: `bad_${n}` });
  for (let n = 0; n < 5; n += 1) await server.ended(`bad_${n}`);
  expect((await post(server.url, sample("session.created"), { id: "good" })).status).toBe(200);
  expect((await server.ended("good")).runs).toMatchObject([{ state: "done" }]);
  expect(server.process.exitCode).toBeNull();
});
