// Outages of the handlers' database: told once when they begin and once when they end.

import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { isOutage, watchOutages } from "../../src/db/outage.ts";
import { serverWith, until } from "../harness.ts";

setDefaultTimeout(20_000);

function outages() {
  const told: unknown[] = [];
  let wrong: Error | undefined;
  let pings = 0;
  const ping = async () => {
    pings += 1;
    if (wrong) throw wrong;
  };
  const watch = watchOutages({ ping, onTrouble: (reason) => told.push(reason) });
  return { watch, told, pings: () => pings, be: (error: Error | undefined) => (wrong = error) };
}

test("one lost connection is no outage", async () => {
  const { told, pings, watch } = outages();
  for (let n = 0; n < 20; n += 1) watch.suspect();
  await Bun.sleep(20);
  expect([told, pings()]).toEqual([[], 1]);
  watch.stop();
});

test("an outage is told with what the database says now, until it answers", async () => {
  const { told, be, watch } = outages();
  const refused = new Error("connection refused");
  be(refused);
  watch.suspect();
  await until("the report", () => told.length > 0);
  for (let n = 0; n < 5; n += 1) watch.begin(new Error("connection closed"));
  watch.suspect();
  expect(await watch.answers()).toBe(false);
  await Bun.sleep(1_200);
  expect(told).toEqual([refused]);
  expect(watch.reason).toBe(refused);
  be(undefined);
  await until("the end", () => told.length > 1);
  expect(told).toEqual([refused, undefined]);
  expect(watch.reason).toBeUndefined();
  watch.stop();
});

test("an error of a statement is none of the database", () => {
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

test("a lock that another program holds is reported once and costs no attempt", async () => {
  await using server = await serverWith({
    "_schema.sql": "create table if not exists t (a text);",
    "user.created.ts":
      "export default async ({ db, delivery }) => { await db`insert into t values (${delivery.id})`; };",
  });
  using other = new Database(join(server.dataDir, "app.db"));
  other.run("begin immediate");
  await server.post({ type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
  const told = () => server.lines.map(({ msg }) => String(msg)).filter((line) => line.startsWith("the database can"));
  await until("the report", () => told().length > 0, 8_000);
  await Bun.sleep(1_500);
  other.run("rollback");
  expect((await server.ended("msg_1")).runs[0]).toMatchObject({ state: "done", attempts: [{ outcome: "done" }] });
  await until("the end of the outage", () => told().length > 1);
  expect(told()).toEqual([expect.stringContaining("another program has locked it"), expect.stringContaining("again")]);
});
