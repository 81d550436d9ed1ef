// Handlers in the dispatcher write through `db` exactly once, also after a crash, and block no other handlers.

import { expect, test } from "bun:test";

import type { Effects } from "../../src/db/effects.ts";
import { attemptKey, declareVoid } from "../../src/db/ledger.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import type { HandlerFunction } from "../../src/index.ts";
import { startRetention } from "../../src/upkeep/retention.ts";
import { dispatching, message } from "../dispatch/dispatching.ts";
import { until } from "../harness.ts";
import { claimer, createClocks, DAY, knownHandler, replayOf } from "../inbox/box.ts";

const SCHEMA = "create table t (id text, attempt integer)";
const writeRow: HandlerFunction = async ({ db, delivery, run }) => {
  await db`insert into t values (${delivery.id}, ${run.attempt})`;
};
const withTable = async (_: Inbox, effects: Effects) => effects.applySchema({ text: SCHEMA });
const rows = async (effects: Effects) => effects.sql`select id, attempt from t order by id`.values();

test.concurrent("writes of a done run are kept, and those of a failed attempt are not", async () => {
  const failOnce: HandlerFunction = async (context) => {
    await writeRow(context);
    if (context.run.attempt === 1) throw new Error("not yet");
  };
  const options = { attempts: 1 };
  await using bellhop = await dispatching(
    { "user.created": writeRow, "user.updated": [options, failOnce] },
    { before: withTable },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  await bellhop.send("msg_2", { type: "user.updated" });
  await bellhop.reaches("msg_2", "dead");
  expect(await rows(bellhop.effects)).toEqual([["msg_1", 1]]);
});

test.concurrent("a run that committed before a crash is done and does not run again", async () => {
  let calls = 0;
  const countedWrite: HandlerFunction = async (context) => {
    calls += 1;
    await writeRow(context);
  };
  await using bellhop = await dispatching(
    { "user.created": countedWrite },
    {
      async before(inbox, effects) {
        await withTable(inbox, effects);
        const runs = [{ handler: "user.created", lane: "user", parked: false }];
        for (const id of ["msg_1", "msg_2"]) await inbox.accept(message(id), runs);
        const { runs: claimed } = await inbox.claim(claimer({ "user.created": 2 }, { owner: "another process" }));
        // The process commits the first run, and dies before it records that.
        const transaction = effects.transaction({ key: attemptKey(claimed[0]!), timeoutMs: 1_000 });
        await transaction.db`insert into t values ('msg_1', 1)`;
        await transaction.commit(new AbortController().signal);
      },
    },
  );
  await bellhop.reaches("msg_1", "done");
  await bellhop.reaches("msg_2", "done");
  expect(calls).toBe(1);
  expect(await rows(bellhop.effects)).toEqual([["msg_1", 1], ["msg_2", 2]]); // prettier-ignore
});

test.concurrent("a run of a restored inbox writes although a later attempt is void", async () => {
  await using bellhop = await dispatching(
    { "user.created": writeRow },
    {
      async before(inbox, effects) {
        await withTable(inbox, effects);
        const lost = { delivery: "msg_1", handler: "user.created", replay: "", attempt: 7, owner: "a lost process" };
        await effects.write((tx) => declareVoid(tx, lost));
      },
    },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  expect((await bellhop.run("msg_1")).attempts).toMatchObject([{ attempt: 1, outcome: "done" }]);
  expect(await rows(bellhop.effects)).toEqual([["msg_1", 1]]);
});

test.concurrent("a handler that commits by itself and throws is retried", async () => {
  const commitAndThrow: HandlerFunction = async (context) => {
    await writeRow(context);
    await context.db`${context.db.unsafe("commit")}`;
    throw new Error("after the commit");
  };
  await using bellhop = await dispatching({ "user.created": [{ attempts: 2 }, commitAndThrow] }, { before: withTable });
  await bellhop.send("msg_1");
  const run = await bellhop.reaches("msg_1", ({ attempts }) => attempts.length > 0);
  expect(run).toMatchObject({
    state: "waiting",
    attempts: [{ outcome: "retry", error: { message: "after the commit" } }],
  });
  const { run: id } = run;
  await bellhop.inbox.retryNow(id);
  await bellhop.reaches("msg_1", "dead");
});

test.concurrent("a handler can't write after its timeout", async () => {
  const lateError = Promise.withResolvers<unknown>();
  const writeLate: HandlerFunction = async (context) => {
    await writeRow(context);
    await Bun.sleep(150);
    await Promise.resolve(writeRow(context)).catch(lateError.resolve);
  };
  await using bellhop = await dispatching(
    { "user.created": [{ timeout: 50, attempts: 1 }, writeLate] },
    { before: withTable },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "dead");
  expect(String(await lateError.promise)).toContain("db was used after its run had ended");
  expect(await rows(bellhop.effects)).toEqual([]);
});

test.concurrent(
  "waiting for the database does not count against the timeout, and delays no other delivery",
  async () => {
    const started = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const slow: HandlerFunction = async (context) => {
      await writeRow(context);
      started.resolve();
      await release.promise;
    };
    await using bellhop = await dispatching(
      { "user.created": slow, "user.created/crm": [{ timeout: 100 }, writeRow], "user.updated": [{}, () => undefined] },
      { before: withTable },
    );
    await bellhop.send("msg_1");
    await started.promise;
    await bellhop.send("msg_2", { subject: "user_2", type: "user.updated" });
    await bellhop.reaches("msg_2", "done");
    // Longer than the timeout of the handler that waits for the database.
    await Bun.sleep(300);
    expect((await bellhop.run("msg_1")).state).toBe("running");
    release.resolve();
    await bellhop.reaches("msg_1", "done", 1);
    expect((await bellhop.run("msg_1", 1)).attempts).toMatchObject([{ outcome: "done" }]);
    expect(await rows(bellhop.effects)).toHaveLength(2);
  },
);

test.concurrent(
  "warns about a long transaction, with a remedy",
  async () => {
    const release = Promise.withResolvers<void>();
    const slow: HandlerFunction = async (context) => {
      await writeRow(context);
      await release.promise;
    };
    await using bellhop = await dispatching({ "user.created": slow }, { before: withTable });
    await bellhop.send("msg_1");
    const line = await until("the warning", () => bellhop.lines.find(({ level }) => level === "warn"), 10_000);
    expect(line.message).toBe(
      "db has been open for 5 s and may block other handlers: do slow work before the first query",
    );
    release.resolve();
    await bellhop.reaches("msg_1", "done");
  },
  15_000,
);

test.concurrent("a replay writes its own effects", async () => {
  await using bellhop = await dispatching({ "user.created": writeRow }, { before: withTable });
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  const handlers = [knownHandler("user.created")];
  await Promise.all(["a", "b"].map((replay) => bellhop.inbox.replay(replayOf("msg_1", replay, handlers))));
  await bellhop.reaches("msg_1", "done", 1);
  await bellhop.reaches("msg_1", "done", 2);
  expect(await rows(bellhop.effects)).toHaveLength(3);
});

test.concurrent("retention deletes old deliveries with their ledger rows, and nothing newer", async () => {
  const clocks = createClocks();
  await using bellhop = await dispatching({ "user.created": writeRow }, { before: withTable, clocks });
  const now = Date.now();
  await bellhop.send("msg_1", { receivedAt: now - 100 * DAY });
  await bellhop.inbox.retention.next(10, 1);
  clocks.pass(100 * DAY);
  await bellhop.send("msg_2", { receivedAt: now - 20 * DAY, subject: "user_2" });
  await bellhop.send("msg_3", { receivedAt: now, subject: "user_3" });
  for (const id of ["msg_1", "msg_2", "msg_3"]) await bellhop.reaches(id, "done");
  const { inbox, effects } = bellhop;
  const troubles: unknown[] = [];
  const retention = startRetention({ inbox, effects, retentionDays: 10, onTrouble: (error) => troubles.push(error) });
  await until("the oldest delivery to be deleted", async () => (await inbox.get("msg_1")) === null);
  await until("the payload of the next to be deleted", async () => (await inbox.get("msg_2"))?.body === null);
  await retention.stop();
  expect(troubles).toEqual([]);
  expect(await inbox.get("msg_2")).toMatchObject({ body: null, runs: [{ state: "done" }] });
  expect((await inbox.get("msg_3"))?.body).not.toBeNull();
  const left = await effects.sql`select delivery from bellhop_ledger order by delivery`.values();
  expect(left.flat()).toEqual(["msg_2", "msg_3"]);
});
