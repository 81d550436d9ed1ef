// Commits of SQLite that fail: each operation is repeated on its own and answered once, and rows that a failed commit has
// left on the disk are found.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFileSync, fdatasyncSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";

import { InboxUnavailable } from "../../src/errors.ts";
import type { Claim, Inbox, NewDelivery } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { until } from "../until.ts";
import { claimer, CREATED, dead, delivery, done, ids, knownHandler, NEWEST, OWNER, retry, run } from "./box.ts";
import { failCommits } from "./failing-commits.ts";

const accept = (inbox: Inbox, id: string) => inbox.accept(delivery(id, { subject: id }), [run(CREATED)]);
const claim = async (inbox: Inbox, held?: Map<number, number>) =>
  (await inbox.claim(claimer({ [CREATED]: 16 }, held && { held }))).runs;
const failure = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

/** Claims with each commit, and holds the claimed runs. Returns them, also those that are claimed later. */
function startClaimer(inbox: Inbox) {
  const held = new Map<number, number>();
  const runs: Claim["runs"] = [];
  const slots = new Map([[CREATED, 16]]);
  inbox.claimWithEachCommit({ owner: OWNER, capacity: () => ({ slots }), held: () => held }, (claimed) => {
    runs.push(...claimed.runs);
    for (const { run, attempt } of claimed.runs) held.set(run, attempt);
  });
  return runs;
}

/** Orphaned rows, and order keys that would never be released: what a partial commit would leave behind. */
function inconsistencies(folder: string): unknown[] {
  using db = new Database(join(folder, "inbox.db"), { readonly: true });
  const queries = [
    "select 'run without delivery' as problem, id from run where seq not in (select seq from delivery)",
    "select 'payload without delivery' as problem, seq from payload where seq not in (select seq from delivery)",
    "select 'delivery without payload' as problem, id from delivery where seq not in (select seq from payload)",
    `select 'busy order key without running run' as problem, key from order_key
      where state = 2 and not exists (select 1 from run where order_key = key and run.state = 1)`,
    `select 'head that does not wait' as problem, key from order_key
      where state = 1 and not exists (select 1 from run where run.id = head and run.state = 0)`,
  ];
  return queries.flatMap((query) => db.query(query).all());
}

test("refuses one delivery that does not fit, and stores the others of its batch", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path, { maxPages: 100 });
  const sizes = [10, 10, 900_000, 10, 10];
  const stored = await Promise.allSettled(
    sizes.map((size, index) => inbox.accept(delivery(`msg_${index}`, { body: new Uint8Array(size) }), [])),
  );
  expect(stored.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled", "fulfilled"]);
  expect(stored[2]).toMatchObject({ reason: expect.any(InboxUnavailable) });
  expect(await inbox.get("msg_2")).toBeNull();
  expect(await inbox.get("msg_3")).toMatchObject({ id: "msg_3" });
  expect(inbox.writable).toBe(true);
});

test("reports why the disk refuses a write, and that it accepts writes again", async () => {
  await using folder = await temporaryFolder();
  const reports: unknown[] = [];
  const onTrouble = (reason?: unknown) => reports.push(reason instanceof Error ? reason.message : reason);
  await using inbox = await openSqliteInbox(folder.path, { maxPages: 60, onTrouble });
  const refused = await failure(inbox.accept(delivery("msg_1", { body: new Uint8Array(1_000_000) }), [run(CREATED)]));
  expect(refused).toBeInstanceOf(InboxUnavailable);
  expect(inbox.writable).toBe(false);
  expect(reports).toEqual(["database or disk is full"]);
  expect(await accept(inbox, "msg_2")).toEqual({ status: "accepted" });
  expect(inbox.writable).toBe(true);
  expect(reports).toEqual(["database or disk is full", undefined]);
});

test("answers, starts runs and reports an end only after the log is flushed", async () => {
  await using folder = await temporaryFolder();
  const steps: string[] = [];
  const flush = (log: number) => {
    fdatasyncSync(log);
    steps.push("flushed");
  };
  await using inbox = await openSqliteInbox(folder.path, { flush });
  const attached = claimer({ [CREATED]: 1 });
  inbox.claimWithEachCommit(attached, ({ runs }) => {
    for (const claimed of runs) {
      steps.push("started");
      void inbox.finish(claimed, done).then((outcome) => steps.push(outcome));
    }
  });
  steps.length = 0;
  await accept(inbox, "msg_1");
  steps.push("answered");
  await until("its end", () => steps.includes("recorded"));
  expect(steps).toEqual(["flushed", "started", "answered", "flushed", "recorded"]);
});

test("a delivery whose commit could not be flushed is in the file before its copy is answered", async () => {
  await using folder = await temporaryFolder();
  let isFailing = false;
  const flush = (log: number) => {
    if (isFailing) throw new Error("EIO: i/o error, fdatasync");
    fdatasyncSync(log);
  };
  await using inbox = await openSqliteInbox(folder.path, { flush });
  expect(await accept(inbox, "msg_1")).toEqual({ status: "accepted" });
  isFailing = true;
  expect(await failure(accept(inbox, "msg_2"))).toBeInstanceOf(InboxUnavailable);
  expect(inbox.trouble).toMatchObject({ message: expect.stringContaining("EIO") });
  // The pages are still in the cache of the file system, so a later flush may succeed without them.
  isFailing = false;
  expect(await accept(inbox, "msg_2")).toMatchObject({ status: "duplicate" });
  expect(inbox.writable).toBe(true);
  await using withoutLog = await temporaryFolder();
  copyFileSync(join(folder.path, "inbox.db"), join(withoutLog.path, "inbox.db"));
  using db = new Database(join(withoutLog.path, "inbox.db"), { readwrite: true });
  expect(db.query("select id from delivery order by seq").values()).toEqual([["msg_1"], ["msg_2"]]);
});

test("saves the clock with the next commit when the one that saved it failed", async () => {
  await using folder = await temporaryFolder();
  const wall = Date.now() + 9 * 86_400_000;
  await using inbox = await openSqliteInbox(folder.path, { wallClock: () => wall });
  await failCommits({ count: 1, durable: false }, () => failure(accept(inbox, "msg_1")));
  await accept(inbox, "msg_2");
  using db = new Database(join(folder.path, "inbox.db"), { readonly: true });
  // A run that is due by this clock would wait for nine days after a restart with the right time.
  const saved = db.query<{ value: number }, []>("select value from meta where key = 'clock'").get();
  expect(saved?.value).toBeGreaterThanOrEqual(wall);
});

const circular: Record<string, unknown> = {};
circular.self = circular;

test.each<[string, Partial<NewDelivery>, number | undefined]>([
  ["that does not fit on the disk", { body: new Uint8Array(1_000_000) }, 60],
  ["with a value that can't be serialized", { headers: circular as Record<string, string> }, undefined],
  ["with a value that SQLite refuses", { at: Number.NaN }, undefined],
])("stores nothing and starts nothing for a delivery %s", async (_, broken, maxPages) => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path, maxPages ? { maxPages } : {});
  const started = startClaimer(inbox);
  const [refused, accepted] = await Promise.allSettled([
    inbox.accept(delivery("refused", { subject: "refused", ...broken }), [run(CREATED), run("session.created")]),
    accept(inbox, "accepted"),
  ]);
  expect(refused.status).toBe("rejected");
  expect(accepted).toMatchObject({ value: { status: "accepted" } });
  expect(await accept(inbox, "next")).toEqual({ status: "accepted" });
  await until("the others to start", () => started.length >= 2);
  expect(ids(started)).toEqual(["accepted", "next"]);
  expect(inconsistencies(folder.path)).toEqual([]);
  expect(await accept(inbox, "refused")).toEqual({ status: "accepted" });
});

test("stores nothing of an outcome that SQLite refuses", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await accept(inbox, "msg_1");
  await inbox.accept(delivery("behind", { subject: "msg_1" }), [run(CREATED)]);
  const [claimed] = await claim(inbox);
  const broken = inbox.finish(claimed!, { kind: "dead", record: { startedAt: Number.NaN, took: 1 }, reason: "a bug" });
  expect(await failure(broken)).toBeInstanceOf(Error);
  expect(inconsistencies(folder.path)).toEqual([]);
  expect(await claim(inbox)).toEqual([]);
  expect(await inbox.finish(claimed!, done)).toBe("recorded");
});

test("reports a claimer that throws, and does not repeat the commit", async () => {
  await using folder = await temporaryFolder();
  const bug = new Error("a bug in the claimer");
  const reported: unknown[] = [];
  await using inbox = await openSqliteInbox(folder.path, { onBug: (error) => reported.push(error) });
  inbox.claimWithEachCommit(claimer({ [CREATED]: 16 }), () => {
    throw bug;
  });
  await Promise.all(["msg_1", "msg_2"].map((id) => accept(inbox, id)));
  for (const id of ["msg_1", "msg_2"]) expect(await inbox.get(id)).toMatchObject({ receipts: 1, runs: [{}] });
  expect(reported).toEqual(Array.from(reported, () => bug));
  expect(reported.length).toBeGreaterThan(0);
  expect(inbox.writable).toBe(true);
});

test("an operation that writes nothing does not make the inbox writable", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await failCommits({ count: Infinity, durable: false }, async () => {
    expect(await failure(accept(inbox, "msg_1"))).toBeInstanceOf(InboxUnavailable);
    await Promise.allSettled([claim(inbox), inbox.retryNow(4_711), inbox.sweep()]);
    expect(inbox.writable).toBe(false);
  });
  await until("the inbox to be writable", () => inbox.writable);
});

test("starts each run once when a batch fails and is repeated in parts", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await accept(inbox, "old");
  const started = startClaimer(inbox);
  // The batch fails, then its first operation alone. The ids of runs that were rolled back are then used by other runs.
  const [refused, accepted] = await failCommits({ count: 2, durable: false }, () =>
    Promise.allSettled([accept(inbox, "refused"), accept(inbox, "accepted")]),
  );
  expect(refused).toMatchObject({ status: "rejected", reason: expect.any(InboxUnavailable) });
  expect(accepted).toMatchObject({ value: { status: "accepted" } });
  await until("both runs to start", () => started.length >= 2);
  expect(ids(started).toSorted()).toEqual(["accepted", "old"]);
  for (const claimed of started) expect(await inbox.finish(claimed, done)).toBe("recorded");
});

test("an outcome that a failed commit left on the disk is recorded, not superseded", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await accept(inbox, "msg_1");
  const [claimed] = await claim(inbox);
  const [answer] = await failCommits({ count: 1, durable: true }, () =>
    Promise.all([inbox.finish(claimed!, dead), accept(inbox, "msg_2")]),
  );
  expect(answer).toBe("recorded");
  expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ state: "dead", attempts: [{ attempt: 1 }] }] });
});

test("a delivery that a failed commit left on the disk is accepted when its batch is repeated", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  const answers = await failCommits({ count: 1, durable: true }, () =>
    Promise.all([accept(inbox, "msg_1"), accept(inbox, "msg_2")]),
  );
  expect(answers).toEqual([{ status: "accepted" }, { status: "accepted" }]);
  expect(ids(await claim(inbox)).toSorted()).toEqual(["msg_1", "msg_2"]);
});

test("a delivery that a failed commit left on the disk is a duplicate the next time, with one run", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  expect(await failCommits({ count: 1, durable: true }, () => failure(accept(inbox, "msg_1")))).toBeInstanceOf(
    InboxUnavailable,
  );
  expect(await accept(inbox, "msg_1")).toMatchObject({ status: "duplicate", runs: [{ state: "waiting" }] });
  expect(await claim(inbox)).toHaveLength(1);
});

test("releases runs that a failed claim left on the disk, but none that are held or belong to another owner", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await accept(inbox, "held");
  const [kept] = await claim(inbox);
  await accept(inbox, "foreign");
  const foreign = (await inbox.claim(claimer({ [CREATED]: 16 }, { owner: "owner-2" }))).runs;
  await accept(inbox, "lost");
  const held = new Map([[kept!.run, kept!.attempt]]);
  expect(await failCommits({ count: 1, durable: true }, () => failure(claim(inbox, held)))).toBeInstanceOf(
    InboxUnavailable,
  );
  expect(await inbox.get("lost")).toMatchObject({ runs: [{ state: "running" }] });
  expect(await claim(inbox, held)).toMatchObject([{ delivery: { id: "lost" }, attempt: 2, spent: 0, interrupted: 0 }]);
  expect(await inbox.finish(kept!, done)).toBe("recorded");
  expect(await inbox.finish(foreign[0]!, done)).toBe("recorded");
});

test("a run that a failed commit has claimed starts with a later commit", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  const started = startClaimer(inbox);
  await accept(inbox, "held");
  expect(await failCommits({ count: 1, durable: true }, () => failure(accept(inbox, "lost")))).toBeInstanceOf(
    InboxUnavailable,
  );
  expect(await inbox.get("lost")).toMatchObject({ runs: [{ state: "running" }] });
  await until("the run to start", () => started.length >= 2);
  expect(started).toMatchObject([
    { delivery: { id: "held" }, attempt: 1 },
    { delivery: { id: "lost" }, attempt: 2, spent: 0, interrupted: 0 },
  ]);
  for (const claimed of started) expect(await inbox.finish(claimed, done)).toBe("recorded");
});

test("a run starts again when a failed commit has finished its attempt and claimed the next one", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  const started = startClaimer(inbox);
  await accept(inbox, "msg_1");
  const [first] = started;
  expect(await failCommits({ count: 1, durable: true }, () => failure(inbox.finish(first!, retry(0))))).toBeInstanceOf(
    InboxUnavailable,
  );
  expect(await inbox.finish(first!, retry(0))).toBe("superseded");
  await until("the run to start again", () => started.length >= 2);
  expect(started[1]).toMatchObject({ run: first!.run, attempt: 3, spent: 1 });
});

test("a claim returns its runs when its failed batch has left them on the disk and is repeated in parts", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await accept(inbox, "msg_1");
  const [claimed, sweep] = await failCommits({ count: 1, durable: true }, () =>
    Promise.allSettled([claim(inbox), inbox.sweep()]),
  );
  expect(sweep).toMatchObject({ status: "fulfilled" });
  expect(claimed).toMatchObject({ value: [{ attempt: 2, spent: 0 }] });
});

test("a list and a count complete when a commit fails meanwhile", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await Promise.all(Array.from({ length: 3_000 }, (_, n) => inbox.accept(delivery(`n${n}`, { subject: `s${n}` }), [])));
  const handler = knownHandler("session.created");
  const unseen = { filter: { neverSeenBy: handler }, handlers: [handler], stale: false };
  const [listed, counted] = await failCommits({ count: 1, durable: false }, () =>
    Promise.all([
      inbox.list({ handler: "unknown" }, { before: null, limit: 10 }),
      inbox.countReplay(unseen),
      ...["x", "y"].map((id) => accept(inbox, id)),
    ]),
  );
  expect(listed).toEqual({ deliveries: [], next: null });
  expect(counted).toMatchObject({ found: 0 });
});

test("reads continue while the disk refuses", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  await accept(inbox, "msg_1");
  await claim(inbox);
  using other = new Database(join(folder.path, "inbox.db"));
  other.run("begin immediate");
  expect(await failure(accept(inbox, "msg_2"))).toBeInstanceOf(InboxUnavailable);
  expect(await inbox.get("msg_1")).toMatchObject({ runs: [{ handler: CREATED, state: "running", attempts: [] }] });
  const { deliveries } = await inbox.list({}, NEWEST);
  expect(deliveries).toMatchObject([{ runs: [{ handler: CREATED, state: "running", attempts: 0 }] }]);
  const handler = knownHandler(CREATED);
  const unseen = { filter: { neverSeenBy: handler }, handlers: [handler], stale: false };
  expect(await inbox.countReplay(unseen)).toMatchObject({ found: 0 });
  other.run("rollback");
  await until("the inbox to be writable", () => inbox.writable);
  expect(await accept(inbox, "msg_2")).toEqual({ status: "accepted" });
});

test("reads continue while the file can't be reopened, and writes continue once it can", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "data");
  await mkdir(dir);
  await using inbox = await openSqliteInbox(dir);
  await accept(inbox, "a");
  expect(await failCommits({ count: 1, durable: false }, () => failure(accept(inbox, "b")))).toBeInstanceOf(
    InboxUnavailable,
  );
  await rename(dir, `${dir}.away`);
  expect(await failure(accept(inbox, "b"))).toBeInstanceOf(InboxUnavailable);
  expect(await inbox.get("a")).toMatchObject({ runs: [{ state: "waiting" }] });
  expect((await inbox.list({}, NEWEST)).deliveries).toHaveLength(1);
  await rename(`${dir}.away`, dir);
  expect(await accept(inbox, "b")).toEqual({ status: "accepted" });
});

test("tries a failing claim a few times a second, not all the time", async () => {
  await using folder = await temporaryFolder();
  await using inbox = await openSqliteInbox(folder.path);
  startClaimer(inbox);
  let claims = 0;
  inbox.onWork(() => {
    claims += 1;
    claim(inbox).catch(() => undefined);
  });
  await rename(join(folder.path, "inbox.db"), join(folder.path, "other.db"));
  expect(await failure(accept(inbox, "msg_1"))).toBeInstanceOf(InboxUnavailable);
  await until("another claim", () => claims > 1);
  const before = claims;
  await Bun.sleep(1_000);
  expect(claims - before).toBeLessThan(50);
  await rename(join(folder.path, "other.db"), join(folder.path, "inbox.db"));
});

test("a closed inbox writes nothing, because its file may belong to another server by then", async () => {
  await using folder = await temporaryFolder();
  const inbox = await openSqliteInbox(folder.path);
  await inbox.close();
  expect(await failure(accept(inbox, "msg_1"))).toBeInstanceOf(InboxUnavailable);
  await using next = await openSqliteInbox(folder.path);
  expect(await next.get("msg_1")).toBeNull();
});
