// Health is judged by the work itself, and an outage that comes and goes is one.

import { Database } from "bun:sqlite";
import { afterAll, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { open } from "node:fs/promises";
import { join } from "node:path";

import { createHealth } from "../../src/inbox/health.ts";
import { openPostgresInbox, openSqliteInbox } from "../../src/inbox/open.ts";
import { describeHealth } from "../../src/receive/health-details.ts";
import { serverWith, temporaryFolder, until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { startProxy } from "../proxy.ts";
import { delivery } from "./box.ts";

setDefaultTimeout(20_000);

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose]());

const user = (id: string) => ({ type: "user.created", object: "event", data: { id, object: "user" } });

test("a damaged page that deliveries need makes /health red for as long as it is damaged, and is told once", async () => {
  await using folder = await temporaryFolder();
  {
    await using server = await serverWith({}, {}, folder.path);
    for (let number = 0; number < 50; number += 1) await server.post(user("a"), { id: `msg_${number}` });
  }
  await damage(join(folder.path, "data", "inbox.db"), "sqlite_autoindex_delivery_1");
  await using server = await serverWith({}, {}, folder.path);
  const health = () => fetch(`http://127.0.0.1:${server.port}/health`);
  expect((await server.post(user("b"), { id: "msg_new" })).status).toBe(503);
  for (let look = 0; look < 25; look += 1) {
    const response = await health();
    expect([look, response.status, await response.json()]).toEqual([
      look,
      503,
      { status: "unavailable", reason: "the inbox can't be written: its file is damaged" },
    ]);
    await Bun.sleep(100);
  }
  const told = server.lines.filter(({ msg }) => String(msg).startsWith("the inbox can"));
  expect(told.map(({ msg }) => msg)).toEqual([expect.stringMatching(/inbox\.db: .*malformed/)]);
});

test("a disk that holds a commit for seconds is reported, with the time, when it lets go", async () => {
  await using folder = await temporaryFolder();
  const troubles: unknown[] = [];
  await using inbox = await openSqliteInbox(folder.path, { onTrouble: (reason) => troubles.push(reason) });
  const run = Reflect.get(Database.prototype, "run") as (...args: unknown[]) => unknown;
  {
    using _ = spyOn(Database.prototype, "run").mockImplementation(function (this: Database, ...args: unknown[]) {
      if (args[0] === "commit") Bun.sleepSync(5_100);
      return run.apply(this, args) as never;
    });
    expect(await inbox.accept(delivery("msg_1"), [])).toEqual({ status: "accepted" });
  }
  expect(troubles).toEqual([new Error("a commit took 5.1 s"), undefined]);
});

test("an operation that fails again and again beside others that succeed is one outage", async () => {
  const told: unknown[] = [];
  const health = createHealth({
    look: () => undefined,
    // What is tried while it lasts succeeds.
    probe: () => health.succeeded(),
    onTrouble: (reason) => told.push(reason),
    onWell: () => undefined,
  });
  const failing = setInterval(() => health.failed("the end of a run can't be recorded"), 250);
  await Bun.sleep(5_000);
  clearInterval(failing);
  // The first end came too soon, and the second one waits for a calm second.
  expect(told.length).toBeLessThanOrEqual(3);
  expect(health.trouble).toBeDefined();
  await until("the end", () => health.trouble === undefined, 3_000);
  health.stop();
});

test.skipIf(!postgres)("a commit without an answer is trouble before its deadline", async () => {
  using proxy = startProxy(postgres!.port);
  const url = (await postgres!.database()).replace(/:\d+\//, `:${proxy.port}/`);
  const troubles: unknown[] = [];
  await using inbox = await openPostgresInbox(
    { url, prepare: true },
    { onTrouble: (reason) => troubles.push(reason), deadlineMs: 9_000 },
  );
  await inbox.accept(delivery("msg_1"), []);
  proxy.halfOpen = true;
  const began = performance.now();
  const answer = inbox.accept(delivery("msg_2"), []).catch(() => undefined);
  await until("the report", () => troubles.length > 0, 8_500);
  expect(performance.now() - began).toBeGreaterThan(3_900);
  expect(String(troubles[0])).toContain("has not been answered for five seconds");
  expect(inbox.writable).toBe(false);
  proxy.halfOpen = false;
  proxy.cutAll();
  await answer;
  await until("the end", () => inbox.writable, 10_000);
  expect(troubles).toEqual([expect.any(Error), undefined]);
});

test("/health never tells strangers a path, a host or a user", () => {
  const errors = ["connect to db.internal:5432 failed", "password authentication failed for user ada"].map((message) =>
    Object.assign(new Error(message), { code: "ERR_POSTGRES_CONNECTION_CLOSED" }),
  );
  for (const error of [...errors, new Error("/var/lib/data/inbox.db is odd")])
    expect(JSON.stringify(describeHealth({ inbox: error, database: error, log: "EBADF" }))).not.toMatch(
      /internal|ada|var/,
    );
  expect(describeHealth({})).toEqual({});
});

/** Overwrites the root page of an index. */
async function damage(path: string, index: string) {
  const page = (() => {
    using db = new Database(path);
    db.run("pragma wal_checkpoint(truncate)");
    const found = db.query("select rootpage from sqlite_master where name = ?").get(index);
    return (found as { rootpage: number }).rootpage;
  })();
  await using file = await open(path, "r+");
  await file.write(new Uint8Array(4_096).fill(0xff), 0, 4_096, (page - 1) * 4_096);
}
