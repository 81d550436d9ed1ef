// Runs on SQLite that share a transaction: one flush, all or nothing for each run, and no run fails because of another.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";

import { type Effects, openEffects } from "../../src/db/effects.ts";
import type { RunTransaction } from "../../src/db/transaction.ts";
import type { HandlerFunction } from "../../src/index.ts";
import { dispatching } from "../dispatch/dispatching.ts";
import { temporaryFolder } from "../harness.ts";
import { commit, key, never, rejection } from "./effects.contract.ts";

interface Shared extends AsyncDisposable {
  effects: Effects;
  /** An attempt of a handler of this name. */
  attempt: (delivery: string, handler?: string) => RunTransaction;
  rows: () => string[];
  /** How many commits the log holds. */
  commits: () => Promise<number>;
  /** Makes a handler known as one that is quick. */
  warmUp: (handler?: string) => Promise<void>;
}

async function open(): Promise<Shared> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const filename = join(path, "app.db");
  const effects = opened.use(await openEffects({ kind: "sqlite", filename }));
  await effects.applySchema({ text: "create table t (a text primary key)" });
  const reader = opened.adopt(new Database(filename), (db) => db.close());
  const attempt = (delivery: string, handler = "quick") =>
    effects.transaction({ key: key(delivery, { handler }), timeoutMs: 30_000 });
  const rows = () => (reader.query("select a from t order by a").all() as { a: string }[]).map(({ a }) => a);
  async function warmUp(handler = "quick") {
    for (let n = 0; n < 20; n += 1) {
      const transaction = attempt(`warm-up ${n}`, handler);
      await transaction.db`select 1`;
      await commit(transaction);
    }
  }
  const commits = () => countCommits(`${filename}-wal`);
  const held = opened.move();
  return { effects, attempt, rows, commits, warmUp, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** A frame with the database's size in its header ends a commit (sqlite.org/walformat.html). */
async function countCommits(log: string): Promise<number> {
  const view = new DataView(await Bun.file(log).arrayBuffer());
  const frame = 24 + view.getUint32(8);
  let commits = 0;
  for (let at = 32; at + frame <= view.byteLength; at += frame) commits += Number(view.getUint32(at + 4) > 0);
  return commits;
}

/** Writes its delivery's id and ends as a handler that returns. */
async function write(transaction: RunTransaction, id: string) {
  await transaction.db`insert into t values (${id})`;
  await commit(transaction);
}

/** Ends an attempt as a failing handler, and returns the error. */
async function fails(transaction: RunTransaction, work: () => Promise<unknown>): Promise<Error> {
  const error = await rejection(work());
  await transaction.rollback();
  return error;
}

test("runs that wait for the writer share a commit", async () => {
  await using shared = await open();
  await shared.warmUp();
  const before = await shared.commits();
  const ids = Array.from({ length: 10 }, (_, n) => `msg_${n}`);
  await Promise.all(ids.map((id) => write(shared.attempt(id), id)));
  expect(shared.rows()).toEqual(ids);
  // A busy machine may close a group before all have joined.
  expect((await shared.commits()) - before).toBeLessThan(10);
  for (const id of ids) expect(await shared.effects.resolve(key(id, { handler: "quick" }), never)).toBe("committed");
});

test("a run is not done before its group is committed", async () => {
  await using shared = await open();
  await shared.warmUp();
  // On a busy machine, a group may be closed before the second run has joined.
  for (let round = 1; ; round += 1) {
    expect(round).toBeLessThan(100);
    const [first, second] = [shared.attempt(`first ${round}`), shared.attempt(`second ${round}`)];
    await first.db`insert into t values (${`first ${round}`})`;
    const began = Promise.resolve(second.db`insert into t values (${`second ${round}`})`);
    let isDone = false;
    const done = commit(first).then(() => (isDone = true));
    await began;
    // If it has joined, it holds the transaction open.
    await Bun.sleep(50);
    const [rows, wasDone] = [shared.rows(), isDone];
    await commit(second);
    await done;
    if (rows.includes(`first ${round}`)) continue;
    expect(wasDone).toBe(false);
    expect(shared.rows()).toEqual(expect.arrayContaining([`first ${round}`, `second ${round}`]));
    return;
  }
});

test("a run that fails rolls back alone", async () => {
  await using shared = await open();
  await shared.warmUp();
  const attempts = ["msg_1", "msg_2", "msg_3"].map((id) => shared.attempt(id));
  const [first, second, third] = attempts as [RunTransaction, RunTransaction, RunTransaction];
  const [, error] = await Promise.all([
    write(first, "msg_1"),
    fails(second, async () => {
      await second.db`insert into t values ('msg_2')`;
      throw new Error("handler failed");
    }),
    write(third, "msg_3"),
  ]);
  expect(error.message).toBe("handler failed");
  expect(shared.rows()).toEqual(["msg_1", "msg_3"]);
  expect(await shared.effects.resolve(key("msg_2", { handler: "quick" }), never)).toBe("void");
});

test("a failed constraint fails its run alone, inside of a savepoint of its own too", async () => {
  await using shared = await open();
  await shared.warmUp();
  const [first, second] = [shared.attempt("msg_1"), shared.attempt("msg_2")];
  const [, error] = await Promise.all([
    write(first, "same"),
    fails(second, async () => {
      await second.db`insert into t values ('other')`;
      await second.db.savepoint(async (sp) => void (await sp`insert into t values ('same')`));
      await commit(second);
    }),
  ]);
  expect(error.message).toContain("UNIQUE");
  expect(shared.rows()).toEqual(["same"]);
});

test.each([
  ["a conflict that rolls back", "insert or rollback into t values ('msg_1')"],
  ["a COMMIT and a BEGIN", "/* both */ commit; begin; insert into t values ('stray')"],
  // A text of this length is not checked before it runs.
  ["the end of its savepoint", `insert into t values ('stray'); release bellhop_run; --${"x".repeat(10_000)}`],
])("a run that ends the transaction by %s costs no other run its writes or an attempt", async (_, statement) => {
  await using shared = await open();
  await shared.warmUp();
  const [first, second, third] = [shared.attempt("msg_1"), shared.attempt("msg_2"), shared.attempt("msg_3")];
  const outcomes = await Promise.all([
    write(first, "msg_1").then(
      () => "done",
      () => first.hindrance,
    ),
    fails(second, async () => {
      await second.db.unsafe(statement);
      await commit(second);
    }).then(() => second.hindrance),
    write(third, "msg_3").then(() => "done"),
  ]);
  // The first one's writes were committed with the COMMIT, and are lost with the rollback; its ledger row decides.
  expect(outcomes[0]).toBe(shared.rows().includes("msg_1") ? "done" : "lost");
  expect(outcomes[1]).toBeUndefined();
  // A run that fails closes its group.
  expect(outcomes[2]).toBe("done");
  const state = await shared.effects.resolve(key("msg_1", { handler: "quick" }), never);
  expect(state).toBe(shared.rows().includes("msg_1") ? "committed" : "void");
  expect(shared.rows()).not.toContain("stray");

  const retry = shared.effects.transaction({
    key: key("msg_4", { handler: "quick", attempt: 2 }),
    timeoutMs: 30_000,
  });
  await write(retry, "msg_4");
  expect(shared.rows()).toContain("msg_4");
});

test("a handler that has ended a transaction does not share one again", async () => {
  await using shared = await open();
  await shared.warmUp();
  await shared.warmUp("ends");
  for (const [round, lost] of [
    ["1", true],
    ["2", false],
    ["3", false],
  ] as const) {
    const [innocent, ending] = [shared.attempt(`innocent ${round}`), shared.attempt(`ending ${round}`, "ends")];
    const [outcome] = await Promise.all([
      write(innocent, `msg_${round}`).then(
        () => "done",
        () => innocent.hindrance,
      ),
      fails(ending, () =>
        Promise.resolve(
          ending.db.unsafe(`insert or rollback into t values ('msg_${round}'), (null), (null), (null)`),
        ).then(() => commit(ending)),
      ),
    ]);
    if (!lost) expect(outcome).toBe("done");
  }
});

test("a handler that is slow, or was never seen, does not delay the commit of a quick one", async () => {
  await using shared = await open();
  await shared.warmUp();
  for (const round of ["first", "second"]) {
    const [quick, slow] = [shared.attempt(`quick ${round}`), shared.attempt(`slow ${round}`, "slow")];
    await quick.db`insert into t values (${`quick ${round}`})`;
    const waiting = Promise.resolve(slow.db`insert into t values (${`slow ${round}`})`);
    // The slow run has not ended, and the quick one is committed.
    await commit(quick);
    await waiting;
    expect(shared.rows()).toContain(`quick ${round}`);
    await Bun.sleep(20);
    await commit(slow);
  }
  expect(shared.rows()).toHaveLength(4);
});

test("a run leaves its place to the next one before the shared commit", async () => {
  await using shared = await open();
  const seen: string[][] = [];
  const onWritten = () => void seen.push(shared.rows());
  await write(shared.effects.transaction({ key: key("msg_1"), timeoutMs: 30_000, onWritten }), "msg_1");
  expect(seen).toEqual([[]]);
  expect(shared.rows()).toEqual(["msg_1"]);

  const failing = shared.effects.transaction({ key: key("msg_2"), timeoutMs: 30_000, onWritten });
  await fails(failing, () => write(failing, "msg_1"));
  expect(seen).toHaveLength(1);
});

test("a query of a run that was given up writes nothing into the run after it", async () => {
  await using shared = await open();
  await shared.warmUp();
  // The run ends at each step of its query.
  for (let steps = 0; steps < 40; steps += 1) {
    const [late, next] = [shared.attempt(`late ${steps}`), shared.attempt(`next ${steps}`)];
    const query = rejection(
      Promise.resolve(late.db`insert into t values (${`late ${steps}`})`).then(() => late.finish()),
    );
    const written = write(next, `next ${steps}`);
    for (let step = 0; step < steps; step += 1) await Promise.resolve();
    await late.rollback();
    await Promise.allSettled([query, written]);
  }
  expect(shared.rows()).toEqual(Array.from({ length: 40 }, (_, n) => `next ${n}`).toSorted());
});

test("a closed file leaves no log behind", async () => {
  await using folder = await temporaryFolder();
  const filename = join(folder.path, "app.db");
  await using effects = await openEffects({ kind: "sqlite", filename });
  const run = effects.transaction({ key: key("msg_1"), timeoutMs: 30_000 });
  await run.db`select 1`;
  await commit(run);
  await effects.close();
  expect(await Bun.file(`${filename}-wal`).exists()).toBe(false);
});

test("a transaction that belongs to no run shares nothing", async () => {
  await using shared = await open();
  await shared.warmUp();
  const first = shared.attempt("msg_1");
  await first.db`insert into t values ('msg_1')`;
  const written = shared.effects.write(async (tx) => {
    expect(shared.rows()).toEqual(["msg_1"]);
    await tx`insert into t values ('own')`;
  });
  await commit(first);
  await written;
  expect(shared.rows()).toEqual(["msg_1", "own"]);
});

test("handlers that share a transaction with one that ends it write once, and lose no attempt", async () => {
  const writes: HandlerFunction = async ({ db, delivery }) => void (await db`insert into t values (${delivery.id})`);
  const ends: HandlerFunction = async ({ db, delivery }) => {
    await db`insert into t values (${delivery.id})`;
    await db.unsafe("insert or rollback into t values ('taken')");
  };
  await using bellhop = await dispatching(
    { "user.created": writes, "user.deleted": [{ attempts: 1 }, ends] },
    {
      before: (_, effects) =>
        effects.applySchema({ text: "create table t (id text primary key); insert into t values ('taken');" }),
    },
  );
  const ids = Array.from({ length: 30 }, (_, n) => `msg_${String(n).padStart(2, "0")}`);
  const isEnding = (n: number) => n % 10 === 9;
  await Promise.all(
    ids.map((id, n) => bellhop.send(id, { type: isEnding(n) ? "user.deleted" : "user.created", subject: id })),
  );
  for (const [n, id] of ids.entries()) await bellhop.reaches(id, isEnding(n) ? "dead" : "done");
  const written = (await bellhop.effects.sql`select id from t where id <> 'taken' order by id`) as { id: string }[];
  expect(written.map(({ id }) => id)).toEqual(ids.filter((_, n) => !isEnding(n)));
}, 30_000);
