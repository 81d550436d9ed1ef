// Health is measured by the work itself, and an outage that is interrupted for moments is reported as one.

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

test("/health is 503 while a page that deliveries need is damaged, and the log reports it once", async () => {
  await using folder = await temporaryFolder();
  {
    await using server = await serverWith({}, {}, folder.path);
    for (let number = 0; number < 50; number += 1) await server.post(user("a"), { id: `msg_${number}` });
  }
  await damage(join(folder.path, "data", "inbox.db"), "sqlite_autoindex_delivery_1");
  await using server = await serverWith({}, {}, folder.path);
  const health = () => fetch(`http://127.0.0.1:${server.port}/health`);
  expect((await server.post(user("b"), { id: "msg_new" })).status).toBe(503);
  for (let check = 0; check < 25; check += 1) {
    const response = await health();
    expect([check, response.status, await response.json()]).toEqual([
      check,
      503,
      { status: "unavailable", reason: "the inbox can't be written: its file is damaged" },
    ]);
    await Bun.sleep(100);
  }
  const reports = server.lines.filter(({ msg }) => String(msg).startsWith("the inbox can"));
  expect(reports.map(({ msg }) => msg)).toEqual([expect.stringMatching(/inbox\.db: .*malformed/)]);
});

test("a commit that takes seconds is reported with its duration when it completes", async () => {
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

test("an operation that keeps failing while others succeed is one outage", async () => {
  const reports: unknown[] = [];
  const health = createHealth({
    look: () => undefined,
    // The probe during the outage succeeds.
    probe: () => health.succeeded(),
    onTrouble: (reason) => reports.push(reason),
    onWell: () => undefined,
  });
  const failing = setInterval(() => health.failed("the end of a run can't be recorded"), 250);
  await Bun.sleep(5_000);
  clearInterval(failing);
  // The first recovery was reported too early. The second one waits for a second without failures.
  expect(reports.length).toBeLessThanOrEqual(3);
  expect(health.trouble).toBeDefined();
  await until("the recovery", () => health.trouble === undefined, 3_000);
  health.stop();
});

test.skipIf(!postgres)("a commit without an answer is reported before its deadline", async () => {
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
  await until("the recovery", () => inbox.writable, 10_000);
  expect(troubles).toEqual([expect.any(Error), undefined]);
});

test("/health discloses no path, host or user", () => {
  const errors = ["connect to db.internal:5432 failed", "password authentication failed for user ada"].map((message) =>
    Object.assign(new Error(message), { code: "ERR_POSTGRES_CONNECTION_CLOSED" }),
  );
  for (const error of [...errors, new Error("/var/lib/data/inbox.db is odd")])
    expect(JSON.stringify(describeHealth({ inbox: error, database: error, log: "EBADF" }))).not.toMatch(
      /internal|ada|var/,
    );
  expect(describeHealth({})).toEqual({});
  // Bun's SQL has the SQLSTATE in `errno`.
  const refused = { code: "ERR_POSTGRES_SERVER_ERROR", errno: "28P01", message: "password authentication failed" };
  expect(describeHealth({ inbox: refused }).reason).toEndWith("Postgres refuses the user or the password");
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
