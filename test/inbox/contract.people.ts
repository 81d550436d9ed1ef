// What every inbox has to do when a person steps in, when a database is away, and when there is much of everything.

import { describe, expect, test } from "bun:test";

import {
  at,
  CREATED,
  DAY,
  emptyBox,
  HOUR,
  ids,
  interrupted,
  ME,
  type OpenInbox,
  record,
  retry,
  run,
  SECOND,
  UPDATED,
} from "./box.ts";

export function personContract(name: string, open: OpenInbox): void {
  const postponed = (delay: number) => ({ kind: "postponed", record, delay }) as const;
  const parked = (handler: string) => [run(handler, { parked: true })];

  describe(`${name}: postponed`, () => {
    test("a postponed attempt goes again after its delay, is on record and counts for nothing", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(0));
      await box.settle(await box.claimOne(), postponed(5 * SECOND));
      expect(await box.claim()).toEqual([]);
      expect(await box.runOf("msg_1")).toMatchObject({ state: "waiting", due: 5 * SECOND });
      box.clocks.pass(5 * SECOND);
      expect(await box.claimOne()).toMatchObject({ attempt: 3, spent: 1, interrupted: 0, alone: false });
      expect((await box.runOf("msg_1")).attempts).toMatchObject([
        { outcome: "retry" },
        { ...record, attempt: 2, outcome: "postponed" },
      ]);
    });

    test("one that has to go alone still has to", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), interrupted(0, true));
      const { tickets } = await box.inbox.claim(ME, new Map(), true);
      await box.settle(tickets[0]!, postponed(0));
      const again = await box.inbox.claim(ME, new Map(), true);
      expect(again.tickets).toMatchObject([{ alone: true, interrupted: 1, spent: 1 }]);
    });

    test("an earlier event goes before it, a later one waits", async () => {
      await using box = await emptyBox(open);
      await box.accept("middle", { at: at(2) });
      await box.settle(await box.claimOne(), postponed(HOUR));
      await box.accept("late", { at: at(3) });
      expect(await box.claim()).toEqual([]);
      await box.accept("early", { at: at(1) });
      expect(ids(await box.claim())).toEqual(["early"]);
    });
  });

  describe(`${name}: by a person's word`, () => {
    test("a run that waits for its retry goes now", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(HOUR));
      let woken = 0;
      box.inbox.onWork(() => (woken += 1));
      expect(await box.inbox.retryNow((await box.runOf("msg_1")).run)).toBe(true);
      expect(woken).toBe(1);
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "msg_1" }, spent: 1 });
    });

    test("one that waits behind another one still waits for it", async () => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(1) });
      await box.settle(await box.claimOne(), retry(HOUR));
      await box.accept("second", { at: at(2) });
      expect(await box.inbox.retryNow((await box.runOf("second")).run)).toBe(true);
      expect(await box.claim()).toEqual([]);
    });

    test("what runs, is over, is parked or is not there can't go now", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const ticket = await box.claimOne();
      expect(await box.inbox.retryNow(ticket.run)).toBe(false);
      await box.settle(ticket);
      expect(await box.inbox.retryNow(ticket.run)).toBe(false);
      await box.accept("parked", { subject: "user_2" }, parked(CREATED));
      expect(await box.inbox.retryNow((await box.runOf("parked")).run)).toBe(false);
      expect(await box.inbox.retryNow(4_711)).toBe(false);
    });

    test("a waiting run that is given up is dead, and its lane goes on", async () => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(1) });
      await box.settle(await box.claimOne(), retry(HOUR));
      await box.accept("second", { at: at(2) });
      expect(await box.inbox.giveUp((await box.runOf("first")).run, "given up by hand")).toBe(true);
      expect(await box.runOf("first")).toMatchObject({ state: "dead", reason: "given up by hand", due: null });
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "second" }, stale: false });
    });

    test("one behind the head is given up without the head's losing its place", async () => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(1) });
      const running = await box.claimOne();
      await box.accept("second", { at: at(2) });
      await box.accept("third", { at: at(3) });
      expect(await box.inbox.giveUp((await box.runOf("second")).run, "enough")).toBe(true);
      expect(await box.claim()).toEqual([]);
      expect(await box.settle(running)).toBe("settled");
      expect(ids(await box.claim())).toEqual(["third"]);
    });

    test("a parked run that is given up is skipped, and does not come back with its file", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, parked(CREATED));
      expect(await box.inbox.giveUp((await box.runOf("msg_1")).run, "enough")).toBe(true);
      expect(await box.runOf("msg_1")).toMatchObject({ state: "skipped", parked: false, reason: "enough" });
      await box.inbox.park(new Set([CREATED]));
      expect(await box.claim()).toEqual([]);
      expect((await box.inbox.list({ state: "parked" }, { before: null, limit: 1 })).deliveries).toEqual([]);
    });

    test("a running one is not given up, and neither is one that is over", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const ticket = await box.claimOne();
      expect(await box.inbox.giveUp(ticket.run, "enough")).toBe(false);
      expect(await box.settle(ticket)).toBe("settled");
      expect(await box.inbox.giveUp(ticket.run, "enough")).toBe(false);
      expect(await box.stateOf("msg_1")).toBe("done");
      expect(await box.inbox.giveUp(4_711, "enough")).toBe(false);
    });

    test("a one-time code whose last run is given up is wiped", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { sensitive: true });
      await box.inbox.giveUp((await box.runOf("msg_1")).run, "enough");
      expect((await box.inbox.get("msg_1"))?.body).toBeNull();
    });
  });

  describe(`${name}: when there is much of it`, () => {
    const MANY = 1_300;

    test("thousands of runs are parked and go again, whoever changes his mind meanwhile", async () => {
      await using box = await emptyBox(open);
      await Promise.all(Array.from({ length: MANY }, (_, n) => box.accept(`n${n}`, { subject: `user_${n % 700}` })));
      await box.accept("other", { type: UPDATED, subject: "user_x" });
      const waits = async () => (await box.inbox.list({ state: "parked" }, { before: null, limit: 9_999 })).deliveries;
      await box.inbox.park(new Set([UPDATED]));
      expect(await waits()).toHaveLength(MANY);
      expect(ids(await box.claim([CREATED, UPDATED]))).toEqual(["other"]);
      // Reloads in quick succession: the last one counts for all of them.
      await Promise.all([[CREATED], [], [CREATED, UPDATED]].map((loaded) => box.inbox.park(new Set(loaded))));
      expect(await waits()).toHaveLength(0);
      expect(await box.claim([CREATED], MANY)).toHaveLength(700);
    });

    test("thousands that were parked for 24 hours are skipped by one sweep", async () => {
      await using box = await emptyBox(open);
      const accepted = Array.from({ length: MANY }, (_, n) => box.accept(`n${n}`, {}, parked(CREATED)));
      await Promise.all(accepted);
      box.clocks.pass(DAY);
      await box.inbox.sweep();
      const { deliveries } = await box.inbox.list({ state: "skipped" }, { before: null, limit: 9_999 });
      expect(deliveries).toHaveLength(MANY);
    });

    test("whoever parks thousands of runs does not keep a delivery waiting until all are done", async () => {
      await using box = await emptyBox(open);
      await Promise.all(Array.from({ length: 2 * MANY }, (_, n) => box.accept(`n${n}`, { subject: `user_${n}` })));
      const order: string[] = [];
      const parking = box.inbox.park(new Set()).then(() => order.push("parked"));
      await box.accept("live", { type: UPDATED, subject: "user_live" }).then(() => order.push("accepted"));
      await parking;
      expect(order).toEqual(["accepted", "parked"]);
    });
  });
}
