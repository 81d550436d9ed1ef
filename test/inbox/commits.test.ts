// Commits that fail in the middle of others: what is then asked of the disk a second time is done once, and answered as
// if nothing had happened.

import { type Changes, Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";

import { InboxUnavailable } from "../../src/errors.ts";
import type { Accepted, Claim } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { temporaryFolder } from "../harness.ts";
import { CREATED, dead, delivery, ME, run } from "./box.ts";

/** While `action` is under way, the first `count` commits fail; `durable`: they are on the disk all the same. */
async function failCommits<T>(count: number, durable: boolean, action: () => Promise<T>): Promise<T> {
  const plain = Reflect.get(Database.prototype, "run") as (...words: unknown[]) => Changes;
  let left = count;
  using _ = spyOn(Database.prototype, "run").mockImplementation(function (this: Database, ...words: unknown[]) {
    if (words[0] !== "commit" || left === 0) return plain.apply(this, words);
    left -= 1;
    plain.call(this, durable ? "commit" : "rollback");
    throw new Error("database or disk is full");
  });
  return await action();
}

const begunOf = (accepted: Accepted) => (accepted.status === "accepted" ? (accepted.begun ?? []) : []);

test("a claim that is tried again takes nothing away that has begun with its delivery", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await inbox.accept(delivery("old", { subject: "old" }), [run(CREATED)]);
  // All of them together fail, then the first one alone; its run's number is another's then.
  const [big, live, claim] = await failCommits(2, false, () =>
    Promise.allSettled([
      inbox.accept(delivery("big", { subject: "big" }), [run(CREATED)]),
      inbox.accept(delivery("live", { subject: "live" }), [run(CREATED)], { owner: ME, handlers: [CREATED] }),
      inbox.claim(ME, new Map([[CREATED, 16]])),
    ]),
  );
  expect(big).toMatchObject({ status: "rejected", reason: expect.any(InboxUnavailable) });
  const ids = (tickets: Claim["tickets"]) => tickets.map((ticket) => ticket.delivery.id);
  expect(ids(begunOf((live as PromiseFulfilledResult<Accepted>).value))).toEqual(["live"]);
  expect(ids((claim as PromiseFulfilledResult<Claim>).value.tickets)).toEqual(["old"]);
});

test("an end that was on the disk when its commit failed is no lost one", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  const [ticket] = begunOf(await inbox.accept(delivery("a"), [run(CREATED)], { owner: ME, handlers: [CREATED] }));
  const [settled] = await failCommits(1, true, () =>
    Promise.all([inbox.settle(ticket!, dead), inbox.accept(delivery("b", { subject: "b" }), [])]),
  );
  expect(settled).toBe("settled");
});

test("a list, and a count, go on when a commit fails meanwhile", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  const ids = Array.from({ length: 3_000 }, (_, number) => `msg_${number}`);
  await Promise.all(ids.map((id) => inbox.accept(delivery(id, { subject: id }), [])));
  const query = { handler: CREATED, lane: "user", event: "session.created", since: null, stale: false };
  const [listed, missing] = await failCommits(1, false, () =>
    Promise.all([
      inbox.list({ handler: "nobody" }, { before: null, limit: 10 }),
      inbox.missing(query),
      ...["x", "y"].map((id) => inbox.accept(delivery(id, { subject: id }), [])),
    ]),
  );
  expect(listed).toEqual({ deliveries: [], next: null });
  expect(missing).toMatchObject({ found: 0 });
});

test("while the disk refuses, a run that goes on is seen, and nothing is counted that might be wrong", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await inbox.accept(delivery("a"), [run(CREATED)], { owner: ME, handlers: [CREATED] });
  using other = new Database(join(folder.path, "inbox.db"));
  other.run("begin immediate");
  expect(await inbox.get("a")).toMatchObject({ runs: [{ handler: CREATED, state: "running", attempts: [] }] });
  const { deliveries } = await inbox.list({}, { before: null, limit: 10 });
  expect(deliveries).toMatchObject([{ runs: [{ handler: CREATED, state: "running", attempts: 0 }] }]);
  const query = { handler: CREATED, lane: "user", event: CREATED, since: null, stale: false };
  expect(await inbox.missing(query).catch((error: unknown) => error)).toBeInstanceOf(InboxUnavailable);
  other.run("rollback");
  await inbox.sweep();
  expect(await inbox.missing(query)).toMatchObject({ found: 0 });
});

test("while the file can't be opened anew, what is stored can be read, and then it goes on", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "data");
  await mkdir(dir);
  await using inbox = await openSqliteInbox(dir);
  await inbox.accept(delivery("a"), [run(CREATED)]);
  await rename(dir, `${dir}.away`);
  const refused = (id: string) => inbox.accept(delivery(id), []).catch((error: unknown) => error);
  expect(await failCommits(1, false, () => refused("b"))).toBeInstanceOf(InboxUnavailable);
  expect(await refused("b")).toBeInstanceOf(InboxUnavailable);
  expect(await inbox.get("a")).toMatchObject({ runs: [{ state: "waiting" }] });
  expect((await inbox.list({}, { before: null, limit: 10 })).deliveries).toHaveLength(1);
  await rename(`${dir}.away`, dir);
  expect(await refused("b")).toEqual({ status: "accepted" });
});

test("the last word on which files load holds, also when it comes in the moment in which the one before is done", async () => {
  for (let turns = 0; turns < 12; turns += 1) {
    await using folder = await temporaryFolder();
    await using inbox = await openSqliteInbox(folder.path);
    await inbox.accept(delivery("a"), [run(CREATED)]);
    const words: Promise<void>[] = [inbox.park(new Set())];
    const beside = inbox.giveUp(0, "nobody").then(async () => {
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      words.push(inbox.park(new Set([CREATED])));
    });
    await beside;
    await Promise.all(words);
    expect(await inbox.get("a"), `after ${turns} turns`).toMatchObject({ runs: [{ parked: false }] });
  }
});
