// Every inbox counts its backlog and keeps roll-ups, as the metrics need them.

import { describe, expect, test } from "bun:test";

import type { Rollup } from "../../src/inbox/rollups.ts";
import { CREATED, CRM, dead, emptyBox, HOUR, type OpenInbox, retry, run, SECOND, UPDATED } from "./box.ts";

const MINUTE = 60_000;

export function backlogContract(name: string, open: OpenInbox): void {
  describe(`${name}: backlog`, () => {
    test("counts the runs of each handler that are not done", async () => {
      await using box = await emptyBox(open);
      expect(await box.inbox.backlog()).toEqual({ counts: [], oldestWaitingMs: 0 });
      await box.accept("done");
      await box.claimAndFinish();
      await box.accept("running", { subject: "user_2" });
      await box.claimOne();
      await box.accept("dead", { subject: "user_3" });
      await box.claimAndFinish(dead);
      await box.accept("retrying", { subject: "user_4" });
      await box.claimAndFinish(retry(HOUR));
      await box.accept("behind", { subject: "user_4" });
      await box.accept("ready", { subject: "user_5" }, [run(CREATED), run(CRM)]);
      await box.accept("parked", { subject: "user_6" }, [run(UPDATED, { parked: true })]);
      const { counts } = await box.inbox.backlog();
      const text = counts.map(({ handler, state, count }) => `${handler} ${state} ${count}`);
      expect(text.toSorted()).toEqual([
        `${CREATED} dead 1`,
        `${CREATED} retrying 1`,
        `${CREATED} running 1`,
        `${CREATED} waiting 2`,
        `${CRM} retrying 0`,
        `${CRM} waiting 1`,
        `${UPDATED} parked 1`,
      ]);
      expect(await box.inbox.parked()).toEqual([{ handler: UPDATED, state: "parked", count: 1 }]);
    });

    test("a dead run is no longer counted once it was replayed", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(dead);
      const count = async () => (await box.inbox.backlog()).counts.find(({ state }) => state === "dead")?.count;
      expect(await count()).toBe(1);
      await box.replay("msg_1", "again");
      expect(await count()).toBe(0);
      await box.claimAndFinish(dead);
      expect(await count()).toBe(1);
    });

    test("the oldest waiting run is one that may start", async () => {
      await using box = await emptyBox(open);
      const oldest = async () => (await box.inbox.backlog()).oldestWaitingMs;
      await box.accept("first");
      box.clocks.pass(5 * SECOND);
      await box.accept("second");
      expect(await oldest()).toBe(5 * SECOND);
      await box.claimAndFinish(retry(MINUTE));
      // Both wait for the retry of the first one.
      expect(await oldest()).toBe(0);
      box.clocks.pass(MINUTE + 2 * SECOND);
      expect(await oldest()).toBe(2 * SECOND);
    });

    test("counts more runs than a slice", async () => {
      await using box = await emptyBox(open);
      const ids = Array.from({ length: 2_300 }, (_, index) => `msg_${index}`);
      await Promise.all(ids.map((id) => box.accept(id, { subject: id })));
      expect((await box.inbox.backlog()).counts).toContainEqual({ handler: CREATED, state: "waiting", count: 2_300 });
    });

    test("the newest delivery is the last one that arrived", async () => {
      await using box = await emptyBox(open);
      expect(await box.inbox.newestDelivery()).toBeNull();
      await box.accept("first", { receivedAt: 7 });
      await box.accept("second", { receivedAt: 5, subject: "user_2" });
      await box.accept("first", { receivedAt: 9 });
      expect(await box.inbox.newestDelivery()).toMatchObject({ receivedAt: 5 });
    });
  });

  describe(`${name}: roll-ups`, () => {
    const rollup = (start: number, more: Partial<Rollup> = {}): Rollup => ({
      span: MINUTE,
      start,
      server: "one",
      deliveries: 1,
      figures: { failures: 2, longestWait: 3, times: { "17": 4 } },
      ...more,
    });

    test("are kept, replaced by their span, start and server, and read in order", async () => {
      await using box = await emptyBox(open);
      await box.inbox.rollups.save([rollup(2 * MINUTE), rollup(MINUTE)], new Map());
      await box.inbox.rollups.save(
        [rollup(MINUTE, { deliveries: 7 }), rollup(MINUTE, { server: "two" }), rollup(0, { span: HOUR })],
        new Map(),
      );
      await box.reopen();
      expect(await box.inbox.rollups.list(MINUTE, 0)).toEqual([
        rollup(MINUTE, { deliveries: 7 }),
        rollup(MINUTE, { server: "two" }),
        rollup(2 * MINUTE),
      ]);
      expect(await box.inbox.rollups.list(MINUTE, 2 * MINUTE)).toEqual([rollup(2 * MINUTE)]);
      expect(await box.inbox.rollups.list(HOUR, 0)).toEqual([rollup(0, { span: HOUR })]);
    });

    test("are deleted by their span", async () => {
      await using box = await emptyBox(open);
      await box.inbox.rollups.save([rollup(MINUTE), rollup(2 * MINUTE), rollup(0, { span: HOUR })], new Map());
      await box.inbox.rollups.save([], new Map([[MINUTE, 2 * MINUTE]]));
      expect(await box.inbox.rollups.list(MINUTE, 0)).toEqual([rollup(2 * MINUTE)]);
      expect(await box.inbox.rollups.list(HOUR, 0)).toEqual([rollup(0, { span: HOUR })]);
    });
  });
}
