// What is stored may grow: no statement reads a whole table, nobody's backlog slows down the others, and a file of an
// older Bellhop is upgraded with everything in it.

import { Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { join } from "node:path";

import { migrations } from "../../src/inbox/schema.ts";
import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { temporaryFolder } from "../harness.ts";
import { createClocks, CREATED, DAY, dead, delivery, done, ME, run } from "./box.ts";

/** Scans that are meant, by a part of their text, each with its reason. */
const SCANS: Record<string, string> = {
  "from delivery order by seq desc limit 1": "ends at the first row",
  "from sqlite_sequence": "a row for each of two tables",
  "from mark order by lane limit 1": "ends at the first row, and goes on from there by the key",
  "from run indexed by run_missing_file where parked_at is not null  order by handler limit 1":
    "the same, by the index",
  "from run indexed by run_due where head = 1 and state = 0  order by handler limit 1": "the same, by the index",
  "(select seq from delivery where seq": "a slice, which was found by its number before",
};

test("no statement of the inbox reads a whole table", async () => {
  await using folder = await temporaryFolder();
  const texts = new Set<string>();
  {
    const prepare = Reflect.get(Database.prototype, "prepare") as (...args: unknown[]) => unknown;
    using _ = spyOn(Database.prototype, "prepare").mockImplementation(function (this: Database, ...args: unknown[]) {
      texts.add(String(args[0]));
      return prepare.apply(this, args) as never;
    });
    await (await openSqliteInbox(folder.path)).close();
  }
  expect(texts.size).toBeGreaterThan(60);
  using db = new Database(join(folder.path, "inbox.db"));
  const scans: string[] = [];
  for (const text of texts) {
    const plan = db.query<{ detail: string }, []>(`explain query plan ${text}`).all();
    // What a query makes by itself, a list of arrivals or of handlers, is as long as its slice.
    const found = plan.filter(({ detail }) => /^SCAN (?!CONSTANT|each\b|json_each\b|\(subquery)/.test(detail));
    const meant = Object.keys(SCANS).some((part) => text.includes(part));
    if (found.length > 0 && !meant) scans.push(`${found.map(({ detail }) => detail).join(", ")}: ${text}`);
  }
  expect(scans).toEqual([]);
});

test("a subject with 100,000 waiting runs does not slow down the others", async () => {
  await using folder = await temporaryFolder();
  let inbox = await openSqliteInbox(folder.path);
  let count = 0;
  const rounds = async () => {
    const times: number[] = [];
    for (let round = 0; round < 60; round += 1) {
      const began = performance.now();
      count += 1;
      await inbox.accept(delivery(`msg_${count}`, { subject: `user_${count}` }), [run(CREATED)]);
      const { tickets } = await inbox.claim(ME, new Map([[CREATED, 16]]));
      expect(tickets.map(({ delivery }) => delivery.id)).toContain(`msg_${count}`);
      for (const ticket of tickets) if (ticket.delivery.id === `msg_${count}`) await inbox.settle(ticket, done);
      times.push(performance.now() - began);
    }
    return times.toSorted((a, b) => a - b)[times.length >> 1]!;
  };
  await rounds();
  const alone = await rounds();
  await inbox.close();
  {
    using db = new Database(join(folder.path, "inbox.db"));
    const many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)";
    db.run(`${many} insert into delivery(seq, id, type, subject, at, sample, received_at)
      select 1000000 + i, 'many_' || i, 'user.created', 'user_many', i, 0, i from n`);
    db.run(`${many} insert into run(seq, handler, lane, line, at, head, due)
      select 1000000 + i, 'user.created', 'user', 'user_many', i, i = 1, 0 from n`);
  }
  inbox = await openSqliteInbox(folder.path);
  const beside = await rounds();
  await inbox.close();
  // Generous, since others use the machine as well; a search that grows would make it a hundred.
  expect(beside / alone).toBeLessThan(4);
}, 20_000);

test("an inbox of the first version is upgraded, and all that is in it is found by what is new", async () => {
  await using folder = await temporaryFolder();
  {
    using db = new Database(join(folder.path, "inbox.db"), { create: true });
    db.run(migrations[0]!);
    db.run("pragma user_version = 1");
    const old = db.prepare("insert into delivery values(?, ?, ?, ?, ?, 0, ?, 1, null)");
    const payload = db.prepare("insert into payload values(?, '{}', x'7b7d')");
    const runs = db.prepare(`insert into run(seq, handler, lane, line, at, state, head, due, parked_at)
      values(?, 'user.created', 'user', ?, ?, ?, ?, 0, ?)`);
    const rows = { done: 2, dead: 3, waiting: 0, parked: 0, skipped: 4, unhandled: null };
    for (const [n, [id, state]] of Object.entries(rows).entries()) {
      // The third came by a clock that was put right afterwards.
      old.run(n + 1, id, CREATED, id, n, n === 2 ? 500 : n);
      payload.run(n + 1);
      if (state === null) continue;
      const parkedAt = id === "parked" || id === "skipped" ? Date.UTC(2026, 0, 2) : null;
      runs.run(n + 1, id, n, state, Number(id === "waiting"), parkedAt);
    }
    db.run("insert into mark values('user', 'done', 0)");
  }
  const clocks = createClocks();
  await using inbox = await openSqliteInbox(folder.path, clocks);
  const listed = async (filter: object) =>
    (await inbox.list(filter, { before: null, limit: 99 })).deliveries.map(({ id }) => id);
  expect(await listed({})).toEqual(["unhandled", "skipped", "parked", "waiting", "dead", "done"]);
  for (const state of ["done", "dead", "parked", "skipped", "unhandled"] as const)
    expect(await listed({ state })).toEqual([state]);
  expect(await listed({ state: "waiting" })).toEqual(["parked", "waiting"]);
  expect(await listed({ since: 3, until: 500 })).toEqual(["unhandled", "skipped", "parked", "waiting"]);
  expect(await listed({ since: 400 })).toEqual(["waiting"]);
  expect(await inbox.get("skipped")).toMatchObject({ runs: [{ state: "skipped", parked: false }] });

  const { tickets } = await inbox.claim(ME, new Map([[CREATED, 9]]));
  expect(tickets.map(({ delivery }) => delivery.id)).toEqual(["waiting"]);
  await inbox.settle(tickets[0]!, dead);
  await inbox.park(new Set([CREATED]));
  expect((await inbox.claim(ME, new Map([[CREATED, 9]]))).tickets).toMatchObject([{ delivery: { id: "parked" } }]);
  await inbox.looked("dead");
  await inbox.accept(delivery("new", { receivedAt: 100 * DAY }), []);
  for (let batch; (batch = await inbox.prunable(90, 3));) await inbox.prune(batch);
  expect(await listed({})).toEqual(["new", "parked", "waiting"]);
});
