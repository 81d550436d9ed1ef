// Outages of the handlers' database are reported once when they begin and once when they end.

import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { isOutage, watchOutages } from "../../src/db/outage.ts";
import { serverWith, until } from "../harness.ts";

setDefaultTimeout(20_000);

/** Watches a database whose pings fail with the error that `failWith` was given. */
function watchedDatabase() {
  const reports: unknown[] = [];
  let failure: Error | undefined;
  let pings = 0;
  const ping = async () => {
    pings += 1;
    if (failure) throw failure;
  };
  const watch = watchOutages({ ping, onTrouble: (reason) => reports.push(reason) });
  return { watch, reports, pings: () => pings, failWith: (error?: Error) => (failure = error) };
}

test("a lost connection is not reported as an outage while the database answers", async () => {
  const { reports, pings, watch } = watchedDatabase();
  for (let n = 0; n < 20; n += 1) watch.suspect();
  await until("the ping", () => pings() > 0);
  await Bun.sleep(20);
  expect([reports, pings()]).toEqual([[], 1]);
  watch.stop();
});

test("reports an outage with the database's error, and its end when the database answers", async () => {
  const { reports, failWith, watch } = watchedDatabase();
  const refused = new Error("connection refused");
  failWith(refused);
  watch.suspect();
  await until("the report", () => reports.length > 0);
  for (let n = 0; n < 5; n += 1) watch.begin(new Error("connection closed"));
  watch.suspect();
  expect(await watch.answers()).toBe(false);
  await Bun.sleep(1_200);
  expect(reports).toEqual([refused]);
  expect(watch.reason).toBe(refused);
  failWith(undefined);
  await until("the end", () => reports.length > 1);
  expect(reports).toEqual([refused, undefined]);
  expect(watch.reason).toBeUndefined();
  watch.stop();
});

test("distinguishes an outage from an error of a statement", () => {
  const error = (code: string) => Object.assign(new Error("x"), { code });
  for (const code of [
    "ERR_POSTGRES_CONNECTION_CLOSED",
    "ERR_POSTGRES_CONNECTION_REFUSED",
    "SQLITE_FULL",
    "SQLITE_IOERR_FSYNC",
  ])
    expect([code, isOutage(error(code))]).toEqual([code, true]);
  for (const code of ["SQLITE_CONSTRAINT_UNIQUE", "SQLITE_ERROR", "SQLITE_LOCKED", "ENOENT"])
    expect([code, isOutage(error(code))]).toEqual([code, false]);
  for (const thrown of [undefined, null, "text", {}]) expect(isOutage(thrown)).toBe(false);
});

test("reports a lock that another program holds once, and it costs no attempt", async () => {
  await using server = await serverWith({
    "_schema.sql": "create table if not exists t (a text);",
    "user.created.ts":
      "export default async ({ db, delivery }) => { await db`insert into t values (${delivery.id})`; };",
  });
  using other = new Database(join(server.dataDir, "app.db"));
  other.run("begin immediate");
  await server.post({ type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
  const reports = () =>
    server.lines.map(({ msg }) => String(msg)).filter((line) => line.startsWith("the database can"));
  await until("the report", () => reports().length > 0, 8_000);
  await Bun.sleep(1_500);
  other.run("rollback");
  expect((await server.ended("msg_1")).runs[0]).toMatchObject({ state: "done", attempts: [{ outcome: "done" }] });
  await until("the end of the outage", () => reports().length > 1);
  expect(reports()).toEqual([
    expect.stringContaining("another program has locked it"),
    expect.stringContaining("again"),
  ]);
});
