// A growing inbox: no statement reads a whole table, and the backlog of a subject does not slow down other subjects.

import { Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { join } from "node:path";

import type { Inbox, Outcome } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import type { DeliveryFilter } from "../../src/inbox/views.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import {
  claimer,
  CREATED,
  CRM,
  DAY,
  dead,
  delivery,
  done,
  interrupted,
  knownHandler,
  NEWEST,
  problemKey,
  record,
  replayAll,
  replayOf,
  retry,
  run,
} from "./box.ts";

/** Scans that are intended, by a part of their text, each with its reason. */
const SCANS: Record<string, string> = {
  "k.exclusive = 0  order by k.handler limit 1":
    "ends at the first row of the index, and continues from there by its key",
  "where parked_at is not null  order by r.handler limit 1": "ends at the first row of the index, too",
  "exclusive = 1 and (select 1 from pause": "two probes, which end at the first handler that is not paused",
  "from pause order by handler": "a row for each paused handler",
  "from erasure where finished_at is null": "a partial index of the few erasures that have not finished",
  "from problem where resolved_at is null limit": "a partial index of the open problems, at most 1,000 of them",
  "from problem where news > 0": "a partial index of the problems with changes that no alert has reported",
  "where d.kept = 1": "a partial index of the few deliveries that retention found unfinished",
};

/** Executes every statement of the inbox at least once. */
async function exercise(inbox: Inbox) {
  const claim = (exclusive = false) => inbox.claim(claimer({ [CREATED]: 9, [CRM]: 9 }, { exclusive }));
  const runs = [run(CREATED), run(CRM)];
  for (const [n, outcome] of [done, dead, retry(0), retry(DAY), interrupted(0, true)].entries()) {
    await inbox.accept(delivery(`msg_${n}`, { subject: `user_${n}`, sensitive: n === 0 }), runs);
    for (const claimed of (await claim()).runs) {
      await inbox.finish(claimed, outcome);
      await inbox.note(claimed, { level: "info", message: "late" });
    }
  }
  await inbox.accept(delivery("msg_0"), runs);
  await claim(true);
  await inbox.accept(delivery("unhandled"), []);
  await inbox.accept(delivery("running", { subject: "running" }), runs);
  await claim();
  await inbox.abandoned(new Set());
  await inbox.park(new Set([CRM]));
  await inbox.park(new Set([CREATED, CRM]));
  const handler = knownHandler("user.created/late");
  const filters: DeliveryFilter[] = [
    {},
    { id: "msg_1" },
    { type: CREATED },
    { type: "user.*" },
    { subject: "user_1" },
    { handler: CREATED },
    { since: 0 },
    { until: 1, type: CREATED },
    { neverSeenBy: handler },
  ];
  for (const state of ["waiting", "running", "done", "dead", "skipped", "parked", "unhandled"] as const)
    filters.push({ state }, { state, handler: CREATED });
  for (const filter of filters) {
    await inbox.list(filter, NEWEST);
    const selection = { filter, handlers: [handler, knownHandler(CREATED)], stale: true };
    await inbox.countReplay(selection);
    await replayAll(inbox, { ...selection, bulk: true, replay: crypto.randomUUID(), limit: 3 });
  }
  await replayAll(inbox, { ...replayOf("msg_1", "again", [knownHandler(CREATED)]) });
  await inbox.backlog();
  await inbox.newestDelivery();
  await inbox.rollups.save(
    [{ span: 1, start: 1, server: "one", deliveries: 1, figures: { failures: 0, longestWait: 0, times: {} } }],
    new Map([[1, 1]]),
  );
  await inbox.rollups.list(1, 0);
  await inbox.replayProgress(null, { first: 1, last: 99 });
  await inbox.replayProgress(CREATED, { first: 1, last: 99 });
  for (const { run: id } of (await inbox.get("msg_3"))!.runs) {
    await inbox.retryNow(id);
    await inbox.giveUp(id, "enough");
  }
  await inbox.pauses.pause(CRM, "breaker", null, 0);
  await inbox.pauses.takeProbe(CRM, 0);
  await inbox.pauses.list();
  await inbox.pauses.resume(CRM);
  await inbox.erasures.request("user_1", "person", true);
  await inbox.erasures.identifiersOf("user_1");
  while (await inbox.erasures.eraseNext("user_1", new Set()));
  await inbox.erasures.finish("user_1", {});
  await inbox.erasures.open(9);
  await inbox.erasures.requestDue(1);
  await inbox.accept(delivery("fails", { subject: "fails" }), runs);
  const died: Outcome = { kind: "dead", record, reason: "enough", problem: problemKey("a") };
  for (const claimed of (await claim()).runs) await inbox.finish(claimed, died);
  await inbox.problems.newsReported("owner", await inbox.problems.takeNews("owner", async () => new Set(["owner"])));
  for (const listed of ["open", "resolved", "muted"] as const) await inbox.problems.list(listed, 9);
  await inbox.problems.mute("p_a", true);
  await inbox.list({ problem: "p_a" }, NEWEST);
  await replayAll(inbox, { ...replayOf("fails", "again", [knownHandler(CREATED)]) });
  for (const claimed of (await claim()).runs) await inbox.finish(claimed, done);
  await inbox.park(new Set());
  await inbox.sweep();
  await inbox.problems.forget(1);
  await inbox.accept(delivery("newest", { receivedAt: Date.now() + 999 * DAY }), []);
  // A receipt whose time is from a wrong clock.
  await inbox.accept(delivery("ahead", { receivedAt: Date.now() + 9_999 * DAY }), []);
  await inbox.accept(delivery("after", { receivedAt: Date.now() + 999 * DAY }), []);
  await inbox.retention.next(1, 9);
  await Bun.sleep(5);
  for (let step; (step = await inbox.retention.next(1, 9));) await inbox.retention.delete(step);
}

test("no statement of the inbox reads a whole table", async () => {
  await using folder = await temporaryFolder();
  const texts = new Set<string>();
  {
    const prepare = Reflect.get(Database.prototype, "prepare") as (...args: unknown[]) => unknown;
    using _ = spyOn(Database.prototype, "prepare").mockImplementation(function (this: Database, ...args: unknown[]) {
      texts.add(String(args[0]));
      return prepare.apply(this, args) as never;
    });
    await using inbox = await openSqliteInbox(folder.path, { retentionPace: 1e12 });
    await exercise(inbox);
  }
  expect(texts.size).toBeGreaterThan(70);
  using db = new Database(join(folder.path, "inbox.db"));
  const scans: string[] = [];
  for (const text of texts) {
    if (text.startsWith("rollback")) continue;
    const plan = db.query<{ detail: string }, []>(`explain query plan ${text}`).all();
    // Scans of a query's own intermediate results are only as long as its selection.
    const found = plan.filter(({ detail }) =>
      /^SCAN (?!CONSTANT|h\b|t\b|kind\b|slice\b|counted\b|\(subquery)/.test(detail),
    );
    // Otherwise it would read all runs of the handler before.
    if (/select r\.handler from run r where state = /.test(text))
      expect(plan.some(({ detail }) => detail.endsWith("(state=? AND handler>?)"))).toBe(true);
    const isIntended = Object.keys(SCANS).some((part) => text.includes(part));
    if (found.length > 0 && !isIntended) scans.push(`${found.map(({ detail }) => detail).join(", ")}: ${text}`);
  }
  expect(scans).toEqual([]);
});

const COUNT = 100_000;
const numbers = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${COUNT})`;
const deliveries = `${numbers} insert into delivery(seq, id, type, subject, at, sample, received_at)
  select 1000000 + i, 'many_' || i, 'user.created', $subject, i, 0, i from n`;
const backlogs = {
  "a subject with 100,000 waiting runs": [
    deliveries.replace("$subject", "'user_many'"),
    `${numbers} insert into run(id, seq, handler, order_key, at, due)
      select 1000000 + i, 1000000 + i, 'user.created', 'user:subject user_many', i, 0 from n`,
    `insert into order_key(key, state, head, handler, bulk, exclusive, due)
      values ('user:subject user_many', 1, 1000001, 'user.created', 0, 0, 0)`,
  ],
  "100,000 subjects that wait for a retry": [
    deliveries.replace("$subject", "'user_' || i"),
    `${numbers} insert into run(id, seq, handler, order_key, at, due)
      select 1000000 + i, 1000000 + i, 'user.created', 'user:subject user_many' || i, i, 1e15 from n`,
    `${numbers} insert into order_key(key, state, head, handler, bulk, exclusive, due)
      select 'user:subject user_many' || i, 1, 1000000 + i, 'user.created', 0, 0, 1e15 from n`,
  ],
  "100,000 subjects that wait for a slot": [
    deliveries.replace("$subject", "'user_' || i"),
    `${numbers} insert into run(id, seq, handler, order_key, at, due)
      select 1000000 + i, 1000000 + i, 'user.created/crm', 'user/crm:subject user_many' || i, i, 0 from n`,
    `${numbers} insert into order_key(key, state, head, handler, bulk, exclusive, due)
      select 'user/crm:subject user_many' || i, 1, 1000000 + i, 'user.created/crm', 0, 0, 0 from n`,
  ],
};

test.each(Object.entries(backlogs))(
  "other subjects are not slowed down by %s",
  async (_, statements) => {
    await using folder = await temporaryFolder();
    let inbox = await openSqliteInbox(folder.path);
    let count = 0;
    const medianRound = async () => {
      const times: number[] = [];
      for (let round = 0; round < 60; round += 1) {
        const began = performance.now();
        count += 1;
        await inbox.accept(delivery(`msg_${count}`, { subject: `user_${count}` }), [run(CREATED)]);
        const { runs } = await inbox.claim(claimer({ [CREATED]: 16, [CRM]: 1 }));
        expect(runs.map(({ delivery }) => delivery.id)).toContain(`msg_${count}`);
        for (const claimed of runs) if (claimed.delivery.id !== "many_1") await inbox.finish(claimed, done);
        times.push(performance.now() - began);
      }
      return times.toSorted((a, b) => a - b)[times.length >> 1]!;
    };
    await medianRound();
    const withoutBacklog = await medianRound();
    await inbox.close();
    {
      using db = new Database(join(folder.path, "inbox.db"));
      for (const statement of statements) db.run(statement);
    }
    inbox = await openSqliteInbox(folder.path);
    const withBacklog = await medianRound();
    await inbox.close();
    // Generous, because the machine may be busy. A search that grows with the backlog would make it about 100.
    expect(withBacklog / withoutBacklog).toBeLessThan(8);
  },
  20_000,
);
