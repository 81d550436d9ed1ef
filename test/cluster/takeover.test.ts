// Servers that die, stop, or lose Postgres, and the others that continue their runs.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { startProxy } from "../proxy.ts";
import { health, send, sharedInbox, WRITE } from "./servers.ts";

// Each test starts processes, and waits until one is declared dead.
setDefaultTimeout(90_000);
// About 6 s. The machine may be busy.
const TAKEOVER_MS = 12_000;

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose]());
if (noPostgres) console.log(`skipped: ${noPostgres}`);

// On the first server, it does not return before it is aborted.
const HANGING = `${WRITE}
  export default async (context) => {
    const { log, signal } = context;
    log.info("started on " + NAME);
    await write(context);
    if (NAME !== "first") return;
    await new Promise((_, reject) => signal.addEventListener("abort", () => {
      log.info("aborted on " + NAME);
      reject(signal.reason);
    }));
  };`;
const HANDLERS = { "user.created.ts": HANGING };

describe.skipIf(!postgres)("several servers", () => {
  test.concurrent("the runs of a killed server are taken over, and their effects exist once", async () => {
    await using inbox = await sharedInbox(postgres!);
    const first = await inbox.start("first", HANDLERS);
    for (const id of ["msg_1", "msg_2", "msg_3"]) await send(first, "user.created", id);
    await until("the runs to start", () => first.output().split("started on first").length > 3);
    const second = await inbox.start("second", HANDLERS);
    const id = (await inbox.observer.idOf(first.process.pid))!;
    first.process.kill("SIGKILL");
    expect(await inbox.observer.explain(id)).toMatch(/runs:\n.*user\.created(.*\n)+servers:\n(.*\n)+connections/);
    const took = await inbox.observer.takenOver(id, TAKEOVER_MS);
    expect(took).toBeWithin(2_000, TAKEOVER_MS);
    for (const delivery of ["msg_1", "msg_2", "msg_3"]) {
      const { runs } = await second.ended(delivery);
      expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "done"]);
    }
    const calls = await inbox.calls();
    expect(calls.map(({ delivery }) => delivery).toSorted()).toEqual(["msg_1", "msg_2", "msg_3"]);
    expect(new Set(calls.map(({ name }) => name))).toEqual(new Set(["second"]));
    expect(await inbox.observer.isRegistered(id)).toBe(false);
  });

  test.concurrent("a server whose thread stays blocked ends itself, and nothing is doubled", async () => {
    await using inbox = await sharedInbox(postgres!);
    const handlers = {
      "user.created.ts": `${WRITE}
        export default async (context) => {
          await write(context);
          while (NAME === "first") {}
        };`,
    };
    const first = await inbox.start("first", handlers, { BLOCKED_SECONDS: "2" });
    await send(first, "user.created", "msg_1");
    const second = await inbox.start("second", handlers);
    await first.process.exited;
    expect(first.process.signalCode).toBe("SIGKILL");
    const { runs } = await second.ended("msg_1", 60_000);
    expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "done"]);
    expect(await inbox.calls()).toMatchObject([{ delivery: "msg_1", name: "second" }]);
  });

  test.concurrent("a server that stops is known at once, and releases what it runs", async () => {
    await using inbox = await sharedInbox(postgres!);
    const first = await inbox.start("first", HANDLERS, { SHUTDOWN_SECONDS: "1" });
    await send(first, "user.created", "msg_1");
    await until("the run to start", () => first.output().includes("started on first"));
    const second = await inbox.start("second", HANDLERS);
    const id = (await inbox.observer.idOf(first.process.pid))!;
    first.process.kill("SIGTERM");
    expect(await first.process.exited).toBe(0);
    expect(await inbox.observer.isRegistered(id)).toBe(false);
    expect(await inbox.observer.owned(id)).toBe(0);
    const { runs } = await second.ended("msg_1");
    expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["done"]);
    expect(await inbox.calls()).toMatchObject([{ name: "second" }]);
  });

  test.concurrent("a server that loses Postgres stops, its runs continue elsewhere, and it returns", async () => {
    await using inbox = await sharedInbox(postgres!);
    using proxy = startProxy(postgres!.port);
    const url = new URL(inbox.url);
    url.port = String(proxy.port);
    const first = await inbox.start("first", HANDLERS, { INBOX_URL: url.href });
    await send(first, "user.created", "msg_1");
    await until("the run to start", () => first.output().includes("started on first"));
    const second = await inbox.start("second", HANDLERS);
    const { pid } = first.process;
    const id = (await inbox.observer.idOf(pid))!;
    proxy.halfOpen = true;
    await until("its health to be bad", async () => (await health(first)) === 503, TAKEOVER_MS);
    await until("its attempt to be aborted", () => first.output().includes("aborted on first"), TAKEOVER_MS);
    expect((await send(first, "user.created", "msg_2")).status).toBe(503);
    expect(await inbox.observer.owned(id)).toBe(1);
    // The handlers' database ends the transaction of the first server only after a while.
    const { runs } = await second.ended("msg_1", 2 * TAKEOVER_MS);
    expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "done"]);

    proxy.halfOpen = false;
    await until("its health to be good", async () => (await health(first)) === 200, 2 * TAKEOVER_MS);
    const next = await until("its new row", () => inbox.observer.idOf(pid));
    expect(next).not.toBe(id);
    expect((await send(first, "user.created", "msg_2")).status).toBe(200);
    expect(await inbox.calls()).toEqual([{ delivery: "msg_1", name: "second", attempt: 2 }]);
  });

  test.concurrent(
    "a run continues at once after its server was cut off, whatever the old connection holds",
    async () => {
      await using inbox = await sharedInbox(postgres!);
      using proxy = startProxy(postgres!.port);
      const url = new URL(inbox.url);
      url.port = String(proxy.port);
      // Postgres would keep the transaction of the first call for as long as the handler may take.
      const hanging = `import { on } from "bellhop";
      ${WRITE}
      let calls = 0;
      export default on("user.created", { timeout: "10m" }, async (context) => {
        calls += 1;
        await write(context);
        context.log.info("wrote in call " + calls);
        if (calls > 1) return;
        await new Promise((_, reject) => context.signal.addEventListener("abort", () => {
          context.log.info("aborted");
          reject(context.signal.reason);
        }));
      });`;
      const server = await inbox.start("first", { "user.created.ts": hanging }, { INBOX_URL: url.href });
      await send(server, "user.created", "msg_1");
      await until("the run to write", () => server.output().includes("wrote in call 1"));
      proxy.halfOpen = true;
      await until("its attempt to be aborted", () => server.output().includes("aborted"), TAKEOVER_MS);
      // Postgres does not notice that these connections are lost.
      proxy.abandonAll();
      proxy.halfOpen = false;
      const { runs } = await server.ended("msg_1", 30_000);
      expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["done"]);
      expect(await inbox.calls()).toHaveLength(1);
    },
  );

  test.concurrent("a handler that blocks its thread for 8 s does not make its server dead", async () => {
    await using inbox = await sharedInbox(postgres!);
    const blocking = `${WRITE}
      export default async (context) => {
        context.log.info("started on " + NAME);
        const end = performance.now() + 8_000;
        while (performance.now() < end);
        await write(context);
      };`;
    const first = await inbox.start("first", { "user.created.ts": blocking });
    const second = await inbox.start("second", { "user.created.ts": blocking });
    const ids = () => Promise.all([first, second].map(({ process: { pid } }) => inbox.observer.idOf(pid)));
    const before = await ids();
    await send(first, "user.created", "msg_1");
    const { runs } = await second.ended("msg_1", 40_000);
    expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["done"]);
    expect(await inbox.calls()).toMatchObject([{ delivery: "msg_1", attempt: 1 }]);
    expect(await ids()).toEqual(before);
  });
});
