// What is not written with its delivery, but later: runs that began with it, and of whom it is. Crashes are copies of the
// folder, taken while the inbox is open.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import type { Inbox, Ticket } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { temporaryFolder } from "../harness.ts";
import { createClocks, CREATED, delivery, done, ME, record, run, SECOND } from "./box.ts";

const ALL = { before: null, limit: 10_000 };

async function openBox() {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const clocks = createClocks();
  mkdirSync(join(path, "one"));
  const inbox = opened.use(await openSqliteInbox(join(path, "one"), clocks));
  const held = opened.move();
  return {
    inbox,
    clocks,
    begin: async (id: string, subject = id): Promise<Ticket> => {
      const begin = { owner: ME, handlers: [CREATED] };
      const accepted = await inbox.accept(delivery(id, { subject }), [run(CREATED)], begin);
      if (accepted.status !== "accepted" || !accepted.begun?.[0]) throw new Error(`${id} did not begin`);
      return accepted.begun[0];
    },
    /** As `inbox.db` has it, past the inbox. */
    rows(sql: string): unknown[] {
      using db = new Database(join(path, "one", "inbox.db"), { readonly: true });
      return db.query(sql).all();
    },
    /** What the next process finds when this one dies now. */
    async crashed(): Promise<Inbox> {
      cpSync(join(path, "one"), join(path, "two"), { recursive: true });
      return openSqliteInbox(join(path, "two"), clocks);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

test("a run that ends soon is written once, with its only attempt", async () => {
  await using box = await openBox();
  const ticket = await box.begin("msg_1");
  expect(box.rows("select * from run")).toEqual([]);
  expect(await box.inbox.settle(ticket, done)).toBe("settled");
  expect(box.rows("select id, state, attempts, head, owner from run")).toEqual([
    { id: ticket.run, state: 2, attempts: 1, head: 0, owner: null },
  ]);
  expect(box.rows("select * from attempt")).toEqual([]);
  expect((await box.inbox.get("msg_1"))?.runs).toMatchObject([
    { run: ticket.run, state: "done", attempts: [{ attempt: 1, outcome: "done", ...record }] },
  ]);
});

test("what is noted after such an end stands with its attempt", async () => {
  await using box = await openBox();
  const ticket = await box.begin("msg_1");
  await box.inbox.settle(ticket, done);
  await box.inbox.note(ticket, { level: "error", message: "late" });
  await box.inbox.note(ticket, { level: "info", message: "later" });
  const [its] = (await box.inbox.get("msg_1"))?.runs ?? [];
  expect(its?.attempts).toHaveLength(1);
  expect(its?.attempts[0]).toMatchObject({ attempt: 1, log: [{ message: "late" }, { message: "later" }] });
});

test("one that takes longer is written as running, with the next commit", async () => {
  await using box = await openBox();
  const slow = await box.begin("slow");
  box.clocks.pass(SECOND);
  await box.inbox.settle(await box.begin("quick"), done);
  expect(box.rows("select id, state, owner from run where state = 1")).toEqual([{ id: slow.run, state: 1, owner: ME }]);
  expect(await box.inbox.settle(slow, done)).toBe("settled");
  expect(box.rows("select state from run")).toEqual([{ state: 2 }, { state: 2 }]);
});

test("after a crash all that had begun and not ended is found, under its number, and nothing else", async () => {
  await using box = await openBox();
  const tickets: Ticket[] = [];
  for (let n = 0; n < 6; n += 1) tickets.push(await box.begin(`msg_${n}`));
  for (const ticket of [tickets[0]!, tickets[3]!]) await box.inbox.settle(ticket, done);
  await using next = await box.crashed();
  const orphans = await next.orphans("the next one");
  expect(orphans.map(({ run, delivery }) => [run, delivery.id])).toEqual(
    [1, 2, 4, 5].map((n): [number, string] => [tickets[n]!.run, `msg_${n}`]),
  );
  await next.accept(delivery("msg_new", { subject: "new" }), [run(CREATED)]);
  const numbers = (await next.list({}, ALL)).deliveries.flatMap(({ runs }) => runs.map((each) => each.run));
  expect(new Set(numbers).size).toBe(7);
});

test("a number that a run once had is no other run's, also when retention has taken all runs", async () => {
  await using folder = await temporaryFolder();
  const numbers: number[] = [];
  for (const id of ["msg_1", "msg_2"]) {
    await using inbox = await openSqliteInbox(folder.path);
    await inbox.accept(delivery(id, { subject: id }), [run(CREATED)]);
    const { tickets } = await inbox.claim(ME, new Map([[CREATED, 1]]));
    numbers.push(...tickets.map((ticket) => ticket.run));
    await inbox.settle(tickets[0]!, done);
    await inbox.close();
    using db = new Database(join(folder.path, "inbox.db"));
    db.run("delete from run");
  }
  expect(numbers).toEqual([1, 2]);
});

test("of thousands of subjects each delivery is found, also after a crash", async () => {
  await using box = await openBox();
  const many = 5_000;
  const subject = (n: number) => `user_${(n * 7_919) % 97}`;
  for (let n = 0; n < many; n += 500)
    await Promise.all(
      Array.from({ length: 500 }, (_, k) =>
        box.inbox.accept(delivery(`msg_${n + k}`, { subject: subject(n + k) }), []),
      ),
    );
  // Some are in the table by now, some are sorted, and some have just come.
  const written = box.rows("select count(*) as written from subject") as { written: number }[];
  expect(written[0]?.written).toBeWithin(1_000, many);
  await using next = await box.crashed();
  for (const inbox of [next, box.inbox])
    for (const each of [0, 42, 96]) {
      const found = (await inbox.list({ subject: `user_${each}` }, ALL)).deliveries.map(({ id }) => id);
      const expected = Array.from({ length: many }, (_, n) => n).filter((n) => subject(n) === `user_${each}`);
      expect(found.toSorted()).toEqual(expected.map((n) => `msg_${n}`).toSorted());
    }
});
