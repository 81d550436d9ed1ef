// Handlers that differ between servers, as during a rolling deploy, and servers that start at a bad moment.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { connect } from "../../src/cli/connect.ts";
import { hasExited, launch } from "../crash/launch.ts";
import { folderWithHandlers, freePort, spawnServer, until, writeHandlers } from "../harness.ts";
import { noPgBouncer, startPgBouncer } from "../pgbouncer.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { startProxy } from "../proxy.ts";
import { health, send, sharedInbox, WRITE } from "./servers.ts";

setDefaultTimeout(90_000);
const TAKEOVER_MS = 12_000;

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose]());
if (noPostgres) console.log(`skipped: ${noPostgres}`);
else if (noPgBouncer) console.log(`skipped behind a pooler: ${noPgBouncer}`);

const QUICK = `${WRITE}
  export default write;`;

describe.skipIf(!postgres)("several servers", () => {
  test.concurrent("a handler that one server has gets runs from what another one accepts", async () => {
    await using inbox = await sharedInbox(postgres!);
    await inbox.start("first", { "user.created.ts": QUICK, "user.created/only.ts": QUICK });
    const second = await inbox.start("second", { "user.created.ts": QUICK });
    await send(second, "user.created", "msg_1");
    const { runs } = await second.ended("msg_1", TAKEOVER_MS);
    expect(runs.map(({ handler }) => handler).toSorted()).toEqual(["user.created", "user.created/only"]);
    expect(runs.map(({ state, attempts }) => [state, attempts.length])).toEqual([
      ["done", 1],
      ["done", 1],
    ]);
  });

  test.concurrent("a replay by a server whose own file is broken runs on one that loads it", async () => {
    await using inbox = await sharedInbox(postgres!);
    const first = await inbox.start("first", { "user.created.ts": QUICK });
    await send(first, "user.created", "msg_1");
    await first.ended("msg_1", TAKEOVER_MS);
    const second = await inbox.start("second", { "user.created.ts": "export default (" });
    // Until the servers have seen each other: a server that is new to another one makes it look at parked runs.
    await Bun.sleep(3_000);
    await using client = (await connect(join(second.folder, "data")))!;
    await client.replay("msg_1", {});
    const { runs } = await second.ended("msg_1", TAKEOVER_MS);
    expect(runs.map(({ state, parked }) => [state, parked])).toEqual([
      ["done", false],
      ["done", false],
    ]);
  });

  test.concurrent("runs of a handler that no server has any more are parked, and run when one has it", async () => {
    await using inbox = await sharedInbox(postgres!);
    const failing = `import { RetryAfterError } from "bellhop";
      export default ({ run }) => { if (run.attempt === 1) throw new RetryAfterError("not yet", "1h"); };`;
    const first = await inbox.start("first", { "user.created/only.ts": failing });
    const second = await inbox.start("second", { "user.updated.ts": QUICK });
    await send(second, "user.created", "msg_1");
    const run = async () => (await second.get("msg_1"))?.runs[0];
    await until("the first attempt to fail", async () => (await run())?.attempts.length === 1);
    // Servers park runs when one starts, but the first server has the handler of this one.
    await inbox.start("another", { "user.updated.ts": QUICK });
    await Bun.sleep(1_500);
    expect(await run()).toMatchObject({ state: "waiting", parked: false });
    first.process.kill("SIGTERM");
    await first.process.exited;
    await until("the run to be parked", async () => (await run())?.parked);
    await inbox.start("third", { "user.created/only.ts": failing });
    const { runs } = await second.ended("msg_1", TAKEOVER_MS);
    expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["retry", "done"]);
  });

  test.concurrent("a run that has to run exclusively stops only one server", async () => {
    await using inbox = await sharedInbox(postgres!);
    const handlers = {
      "user.updated.ts": QUICK,
      "user.created.ts": `import { on } from "bellhop";
        ${WRITE}
        export default on("user.created", { attempts: 2 }, async (context) => {
          if (context.run.attempt === 1) process.kill(process.pid, "SIGKILL");
          context.log.info("exclusive on " + NAME);
          await Bun.sleep(4_000);
          context.log.info("exclusive ended");
          await write(context);
        });`,
    };
    const poisoned = await inbox.start("poisoned", handlers);
    await send(poisoned, "user.created", "msg_1").catch(() => undefined);
    await poisoned.process.exited;
    const servers = { first: await inbox.start("first", handlers), second: await inbox.start("second", handlers) };
    const output = () => servers.first.output() + servers.second.output();
    const name = await until("the exclusive run", () => output().match(/exclusive on (\w+)/)?.[1], 2 * TAKEOVER_MS);
    for (let n = 0; n < 10; n += 1) await send(n % 2 ? servers.first : servers.second, "user.updated", `during_${n}`);
    const calls = await until("the other runs", async () => {
      const found = await inbox.calls();
      return found.length === 10 ? found : undefined;
    });
    expect(output()).not.toContain("exclusive ended");
    const other = name === "first" ? "second" : "first";
    expect(new Set(calls.map((call) => call.name))).toEqual(new Set([other]));
    const { runs } = await servers.first.ended("msg_1", TAKEOVER_MS);
    expect(runs[0]!.attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "done"]);
    // It runs others again.
    const chosen = name === "first" ? servers.first : servers.second;
    await send(chosen, "user.updated", "after");
    expect((await chosen.ended("after")).runs[0]!.state).toBe("done");
  });

  test.concurrent("a server that starts while Postgres is down answers 503, and works when it is up", async () => {
    await using inbox = await sharedInbox(postgres!);
    using proxy = startProxy(postgres!.port);
    proxy.onClient = () => "cut";
    const url = new URL(inbox.url);
    url.port = String(proxy.port);
    await using folder = await folderWithHandlers();
    await writeHandlers(folder.path, { "user.created.ts": "export default () => {};" });
    const port = await freePort();
    await using server = launch(folder.path, port, { env: { INBOX_URL: url.href } });
    const own = { url: `http://127.0.0.1:${port}/api/webhooks` };
    await until("a server that can't store", async () => (await health(own)) === 503, 30_000);
    expect((await send(own, "user.created", "msg_1")).status).toBe(503);
    expect(hasExited(server.process)).toBe(false);
    proxy.onClient = () => "forward";
    await until("a server that stores", async () => (await health(own)) === 200, 30_000);
    expect((await send(own, "user.created", "msg_1")).status).toBe(200);
  });

  test.concurrent("two servers with one DATA_DIR do not disturb each other's socket", async () => {
    await using inbox = await sharedInbox(postgres!);
    const old = await inbox.start("old", { "user.created.ts": QUICK });
    await using fresh = await spawnServer(old.folder, { env: { INBOX_URL: inbox.url, NAME: "fresh" } });
    await send(old, "user.created", "msg_1");
    expect((await fresh.ended("msg_1")).runs[0]!.state).toBe("done");
    old.process.kill("SIGTERM");
    expect(await old.process.exited).toBe(0);
    await send(fresh, "user.created", "msg_2");
    // Both are asked through the socket in the folder.
    expect((await fresh.ended("msg_2")).runs[0]!.state).toBe("done");
    expect(await inbox.calls()).toMatchObject([{ delivery: "msg_1" }, { delivery: "msg_2", name: "fresh" }]);
  });

  test.skipIf(noPgBouncer !== undefined)("several servers share an inbox behind PgBouncer", async () => {
    await using pooler = await startPgBouncer(postgres!);
    await using inbox = await sharedInbox(postgres!);
    const env = { INBOX_URL: `${pooler.through(inbox.url)}&pgbouncer=true` };
    const first = await inbox.start("first", { "user.created.ts": QUICK, "user.created/only.ts": QUICK }, env);
    const second = await inbox.start("second", { "user.created.ts": QUICK }, env);
    const ids = Array.from({ length: 20 }, (_, n) => `msg_${n}`);
    for (const [n, id] of ids.entries()) await send(n % 2 ? first : second, "user.created", id);
    for (const id of ids) await second.ended(id, TAKEOVER_MS);
    const calls = await inbox.calls();
    expect(calls.map(({ delivery }) => delivery).toSorted()).toEqual([...ids, ...ids].toSorted());
    expect(new Set(calls.map(({ attempt }) => attempt))).toEqual(new Set([1]));
  });
});
