// Handlers that write through `db`, in the dispatcher: exactly once, after whatever happened, and nobody waits for others.

import { expect, test } from "bun:test";

import type { HandlerFunction } from "../../src/bellhop.ts";
import type { Effects } from "../../src/dispatch/effects.ts";
import { startRetention } from "../../src/dispatch/retention.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { until } from "../harness.ts";
import { DAY } from "../inbox/contract.ts";
import { dispatching } from "./dispatching.ts";

const SCHEMA = "create table t (id text, attempt integer)";
const writes: HandlerFunction = async ({ db, delivery, run }) => {
  await db`insert into t values (${delivery.id}, ${run.attempt})`;
};
const withTable = async (_: Inbox, effects: Effects) => effects.applySchema({ text: SCHEMA });
const rows = async (effects: Effects) => effects.sql`select id, attempt from t order by id`.values();

test.concurrent("what a handler wrote is there once its run is done; what a failed attempt wrote is not", async () => {
  const fails: HandlerFunction = async (context) => {
    await writes(context);
    if (context.run.attempt === 1) throw new Error("not yet");
  };
  const options = { attempts: 1 };
  await using bellhop = await dispatching(
    { "user.created": writes, "user.updated": [options, fails] },
    { before: withTable },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  await bellhop.send("msg_2", { type: "user.updated" });
  await bellhop.reaches("msg_2", "dead");
  expect(await rows(bellhop.effects)).toEqual([["msg_1", 1]]);
});

test.concurrent("a run whose effects were committed before a crash is done, and not run again", async () => {
  let calls = 0;
  const counts: HandlerFunction = async (context) => {
    calls += 1;
    await writes(context);
  };
  await using bellhop = await dispatching(
    { "user.created": counts },
    {
      async before(inbox, effects) {
        await withTable(inbox, effects);
        const runs = [{ handler: "user.created", lane: "user", parked: false }];
        for (const id of ["msg_1", "msg_2"]) await inbox.accept(delivery(id), runs);
        const { tickets } = await inbox.claim("another process", new Map([["user.created", 2]]));
        // It committed the first one, and died before it could say so.
        const key = { delivery: "msg_1", handler: "user.created", replay: "" };
        const transaction = effects.transaction({ key, attempt: tickets[0]!.attempt, timeoutMs: 1_000 });
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

test.concurrent("a handler that is cut off at its time-out can write nothing any more", async () => {
  const woken = Promise.withResolvers<unknown>();
  const sleeps: HandlerFunction = async (context) => {
    await writes(context);
    await Bun.sleep(150);
    await Promise.resolve(writes(context)).catch(woken.resolve);
  };
  await using bellhop = await dispatching(
    { "user.created": [{ timeout: 50, attempts: 1 }, sleeps] },
    { before: withTable },
  );
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "dead");
  expect(String(await woken.promise)).toContain("db was used after its run had ended");
  expect(await rows(bellhop.effects)).toEqual([]);
});

test.concurrent(
  "waiting for a turn at the database does not count against the time-out, and delays no delivery",
  async () => {
    const begun = Promise.withResolvers<void>();
    const slow: HandlerFunction = async (context) => {
      await writes(context);
      begun.resolve();
      await Bun.sleep(400);
    };
    await using bellhop = await dispatching(
      { "user.created": slow, "user.created/crm": [{ timeout: 100 }, writes], "user.updated": [{}, () => undefined] },
      { before: withTable },
    );
    await bellhop.send("msg_1");
    await begun.promise;
    const sent = performance.now();
    await bellhop.send("msg_2", { subject: "user_2", type: "user.updated" });
    await bellhop.reaches("msg_2", "done");
    expect(performance.now() - sent).toBeLessThan(250);
    await bellhop.reaches("msg_1", "done", 1);
    expect((await bellhop.run("msg_1", 1)).attempts).toMatchObject([{ outcome: "done" }]);
    expect(await rows(bellhop.effects)).toHaveLength(2);
  },
);

test.concurrent(
  "a transaction that is open for long is told, with what to do",
  async () => {
    const release = Promise.withResolvers<void>();
    const slow: HandlerFunction = async (context) => {
      await writes(context);
      await release.promise;
    };
    await using bellhop = await dispatching({ "user.created": slow }, { before: withTable });
    await bellhop.send("msg_1");
    const line = await until("the warning", () => bellhop.lines.find(({ level }) => level === "warn"), 10_000);
    expect(line.message).toBe(
      "db has been open for 5 s, and other handlers may wait for it: slow things first, db last",
    );
    release.resolve();
    await bellhop.reaches("msg_1", "done");
  },
  15_000,
);

test.concurrent("a replay has effects of its own", async () => {
  await using bellhop = await dispatching({ "user.created": writes }, { before: withTable });
  await bellhop.send("msg_1");
  await bellhop.reaches("msg_1", "done");
  const runs = [{ handler: "user.created", lane: "user", parked: false }];
  await Promise.all(["a", "b"].map((replay) => bellhop.inbox.replay("msg_1", replay, runs)));
  await bellhop.reaches("msg_1", "done", 1);
  await bellhop.reaches("msg_1", "done", 2);
  expect(await rows(bellhop.effects)).toHaveLength(3);
});

test.concurrent(
  "what is older than the retention goes, its ledger rows with it, and nothing that is younger",
  async () => {
    await using bellhop = await dispatching({ "user.created": writes }, { before: withTable });
    const now = Date.now();
    await bellhop.send("msg_1", { receivedAt: now - 100 * DAY });
    await bellhop.send("msg_2", { receivedAt: now - 20 * DAY, subject: "user_2" });
    await bellhop.send("msg_3", { receivedAt: now, subject: "user_3" });
    for (const id of ["msg_1", "msg_2", "msg_3"]) await bellhop.reaches(id, "done");
    const { inbox, effects } = bellhop;
    const troubles: unknown[] = [];
    const retention = startRetention({ inbox, effects, retentionDays: 10, onTrouble: (error) => troubles.push(error) });
    await until("the oldest to go", async () => ((await inbox.get("msg_1")) === null ? true : undefined));
    await retention.stop();
    expect(troubles).toEqual([]);
    expect(await inbox.get("msg_2")).toMatchObject({ body: null, runs: [{ state: "done" }] });
    expect((await inbox.get("msg_3"))?.body).not.toBeNull();
    const left = await effects.sql`select delivery from bellhop_ledger order by delivery`.values();
    expect(left.flat()).toEqual(["msg_2", "msg_3"]);
  },
);

function delivery(id: string) {
  const subject = `user_${id}`;
  const at = Date.now() - 1_000;
  const event = { type: "user.created", object: "event", data: { id: subject }, timestamp: at };
  const body = Buffer.from(JSON.stringify(event));
  return { id, type: "user.created", subject, at, sample: false, sensitive: false, receivedAt: at, headers: {}, body };
}
