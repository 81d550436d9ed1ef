// What every inbox has to do for people who look through what is stored.

import { describe, expect, test } from "bun:test";

import type { ListFilter } from "../../src/inbox/queries.ts";
import {
  at,
  CREATED,
  dead,
  DELETED,
  done,
  emptyBox,
  HOUR,
  type OpenInbox,
  record,
  retry,
  run,
  skipped,
  UPDATED,
} from "./box.ts";

export function listContract(name: string, open: OpenInbox): void {
  type Box = Awaited<ReturnType<typeof emptyBox>>;
  const CRM = "user.created/crm";

  async function listed(box: Box, filter: ListFilter = {}, limit = 100): Promise<string[]> {
    return (await box.inbox.list(filter, { before: null, limit })).deliveries.map(({ id }) => id);
  }

  /** One delivery for each way in which one can stand; newest last. */
  async function stored(): Promise<Box> {
    const box = await emptyBox(open);
    for (const [id, outcome] of Object.entries({ done, dead, skipped, retried: retry(HOUR) })) {
      await box.accept(id, { subject: id });
      await box.settle(await box.claimOne(), outcome);
    }
    await box.accept("running", { subject: "running" });
    await box.claimOne();
    await box.accept("waiting", { subject: "waiting", type: UPDATED });
    await box.accept("parked", { subject: "parked", type: DELETED }, [run(DELETED, { parked: true })]);
    await box.accept("unhandled", { subject: "unhandled", type: "session.created" }, []);
    return box;
  }

  const all = ["unhandled", "parked", "waiting", "running", "retried", "skipped", "dead", "done"];

  describe(`${name}: lists`, () => {
    test("a list shows the newest first, with how the runs stand and without payloads", async () => {
      await using box = await stored();
      expect(await listed(box)).toEqual(all);
      await box.accept("dead");
      const { deliveries, next } = await box.inbox.list({ id: "dead" }, { before: null, limit: 1 });
      expect(deliveries).toEqual([
        {
          id: "dead",
          arrival: expect.any(Number),
          type: CREATED,
          subject: "dead",
          at: at(0),
          sample: false,
          receivedAt: at(1),
          receipts: 2,
          wiped: false,
          runs: [
            {
              run: expect.any(Number),
              handler: CREATED,
              replay: "",
              state: "dead",
              parked: false,
              attempts: 1,
              took: 3,
              due: null,
              reason: "failed 8 of 8 attempts",
            },
          ],
        },
      ]);
      expect(next === null || (await box.inbox.list({ id: "dead" }, { before: next, limit: 1 })).deliveries).toEqual(
        next === null ? true : [],
      );
      const [retried] = (await box.inbox.list({ id: "retried" }, { before: null, limit: 9 })).deliveries;
      expect(retried?.runs).toMatchObject([{ state: "waiting", due: HOUR, attempts: 1, took: 3, reason: null }]);
    });

    test.each<[string, ListFilter, string[]]>([
      ["state done", { state: "done" }, ["done"]],
      ["state dead", { state: "dead" }, ["dead"]],
      ["state skipped", { state: "skipped" }, ["skipped"]],
      ["state running", { state: "running" }, ["running"]],
      ["state waiting, parked ones too", { state: "waiting" }, ["parked", "waiting", "retried"]],
      ["parked", { state: "parked" }, ["parked"]],
      ["unhandled", { state: "unhandled" }, ["unhandled"]],
      ["an event", { type: UPDATED }, ["waiting"]],
      ["a pattern", { type: "user.*" }, all.slice(1)],
      ["every event", { type: "*" }, all],
      ["an event that never came", { type: "user" }, []],
      ["a subject", { subject: "dead" }, ["dead"]],
      ["a handler", { handler: DELETED }, ["parked"]],
      ["an id", { id: "skipped" }, ["skipped"]],
      ["an id that never came", { id: "msg_1" }, []],
      ["handler and state", { handler: CREATED, state: "waiting" }, ["retried"]],
      ["handler and parked", { handler: CREATED, state: "parked" }, []],
      ["state and pattern", { state: "waiting", type: "user.u*" }, ["waiting"]],
      ["state and subject that do not go together", { state: "dead", subject: "done" }, []],
      ["id and state that do not go together", { id: "done", state: "dead" }, []],
    ])("it can be narrowed by %s", async (_, filter, expected) => {
      await using box = await stored();
      expect(await listed(box, filter)).toEqual(expected);
    });

    test("handler and state are meant of one and the same run", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM)]);
      for (const ticket of await box.claim([CREATED, CRM]))
        await box.settle(ticket, ticket.handler === CRM ? dead : done);
      expect(await listed(box, { handler: CRM, state: "dead" })).toEqual(["msg_1"]);
      expect(await listed(box, { handler: CREATED, state: "dead" })).toEqual([]);
    });

    test("a delivery is no longer unhandled when it got a run, however it got it", async () => {
      await using box = await emptyBox(open);
      for (const id of ["replayed", "missing", "left"]) await box.accept(id, { subject: id }, []);
      await box.inbox.replay("replayed", "again", [run(CREATED)]);
      await box.inbox.addMissing({ handler: CREATED, lane: "user", event: CREATED, since: null, stale: false }, 1, 1);
      expect(await listed(box, { state: "unhandled" })).toEqual(["left"]);
      expect(await listed(box, { state: "waiting" })).toEqual(["missing", "replayed"]);
    });

    test("times are those of the receipt, both ends included, also when clocks went astray", async () => {
      await using box = await emptyBox(open);
      for (const [n, second] of [1, 2, 90, 3, 4, -50, 5].entries())
        await box.accept(`n${n}`, { receivedAt: at(second), subject: `s${n}` });
      await box.reopen();
      expect(await listed(box, { since: at(2), until: at(4) })).toEqual(["n4", "n3", "n1"]);
      expect(await listed(box, { since: at(5) })).toEqual(["n6", "n2"]);
      expect(await listed(box, { until: at(1) })).toEqual(["n5", "n0"]);
      expect(await listed(box, { since: at(200) })).toEqual([]);
      expect(await listed(box, { until: at(-60) })).toEqual([]);
      await box.accept("late", { receivedAt: at(-100) });
      expect(await listed(box, { until: at(-60) })).toEqual(["late"]);
    });

    test.each<[string, ListFilter]>([
      ["without a filter", {}],
      ["by a pattern over several events", { type: "user.*" }],
      ["by a state of several handlers", { state: "waiting" }],
      ["by a subject", { subject: "user_1" }],
      ["by what no index knows", { handler: CREATED, since: at(0) }],
    ])("pages follow each other and leave out nothing: %s", async (_, filter) => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 30; n += 1)
        await box.accept(`n${n}`, { type: n % 3 ? CREATED : UPDATED }, [run(CREATED), run(UPDATED), run(CRM)]);
      const pages: string[][] = [];
      for (let before: number | null = null, more = true; more;) {
        const { deliveries, next } = await box.inbox.list(filter, { before, limit: 7 });
        pages.push(deliveries.map(({ id }) => id));
        await box.accept(`later_${pages.length}`);
        [before, more] = [next, next !== null];
      }
      expect(pages.flat()).toEqual(Array.from({ length: 30 }, (_, n) => `n${29 - n}`));
      expect(Math.max(...pages.map(({ length }) => length))).toBe(7);
    });

    test("a payload that is gone is told", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { sensitive: true });
      await box.settle(await box.claimOne());
      const { deliveries } = await box.inbox.list({}, { before: null, limit: 1 });
      expect(deliveries).toMatchObject([{ id: "msg_1", wiped: true }]);
    });

    test("attempts are counted", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      for (const outcome of [retry(0), { kind: "postponed", record, delay: 0 } as const])
        await box.settle(await box.claimOne(), outcome);
      expect((await box.inbox.list({}, { before: null, limit: 1 })).deliveries[0]?.runs).toMatchObject([
        { attempts: 2 },
      ]);
    });

    test("one among thousands is found, and other work goes on meanwhile", async () => {
      await using box = await emptyBox(open);
      await box.accept("old", { subject: "user_old" });
      await box.settle(await box.claimOne(), dead);
      const many = Array.from({ length: 3_000 }, (_, n) => box.accept(`n${n}`, { subject: `user_${n}` }, []));
      await Promise.all(many);
      const looking = box.inbox.list({ handler: CREATED, type: "*" }, { before: null, limit: 5 });
      let turns = 0;
      const other = (async () => {
        for (let over = false; !over; turns += 1) {
          void looking.then(() => (over = true));
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
      expect((await looking).deliveries.map(({ id }) => id)).toEqual(["old"]);
      await other;
      expect(turns).toBeGreaterThan(2);
    });
  });
}
