// Every inbox lets a user retry a waiting run now, or give it up.

import { describe, expect, test } from "bun:test";

import { at, CREATED, emptyBox, expectWork, HOUR, ids, type OpenInbox, retry, run } from "./box.ts";

export function interventionContract(name: string, open: OpenInbox): void {
  const parked = (handler: string) => [run(handler, { parked: true })];

  describe(`${name}: manual intervention`, () => {
    test("retryNow makes a run due that is waiting for its retry", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(HOUR));
      const { run } = await box.runOf("msg_1");
      await expectWork(box.inbox, async () => expect(await box.inbox.retryNow(run)).toBe(true));
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "msg_1" }, spent: 1 });
    });

    test("retryNow does not move a run ahead of earlier runs", async () => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(1) });
      await box.claimAndFinish(retry(HOUR));
      await box.accept("second", { at: at(2) });
      expect(await box.inbox.retryNow((await box.runOf("second")).run)).toBe(true);
      expect(await box.claim()).toEqual([]);
    });

    test("retryNow refuses runs that run, have ended, are parked or do not exist", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claimed = await box.claimOne();
      expect(await box.inbox.retryNow(claimed.run)).toBe(false);
      await box.finish(claimed);
      expect(await box.inbox.retryNow(claimed.run)).toBe(false);
      await box.accept("parked", { subject: "user_2" }, parked(CREATED));
      expect(await box.inbox.retryNow((await box.runOf("parked")).run)).toBe(false);
      expect(await box.inbox.retryNow(4_711)).toBe(false);
    });

    test("giveUp ends a waiting run as dead and unblocks its order key", async () => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(1) });
      await box.claimAndFinish(retry(HOUR));
      await box.accept("second", { at: at(2) });
      expect(await box.inbox.giveUp((await box.runOf("first")).run, "given up by a user")).toBe(true);
      expect(await box.runOf("first")).toMatchObject({ state: "dead", reason: "given up by a user", due: null });
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "second" }, stale: false });
    });

    test("giveUp of a later run does not change the head", async () => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(1) });
      const running = await box.claimOne();
      await box.accept("second", { at: at(2) });
      await box.accept("third", { at: at(3) });
      expect(await box.inbox.giveUp((await box.runOf("second")).run, "enough")).toBe(true);
      expect(await box.claim()).toEqual([]);
      expect(await box.finish(running)).toBe("recorded");
      expect(ids(await box.claim())).toEqual(["third"]);
    });

    test("giveUp ends a parked run as skipped, also when its file loads again", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, parked(CREATED));
      expect(await box.inbox.giveUp((await box.runOf("msg_1")).run, "enough")).toBe(true);
      expect(await box.runOf("msg_1")).toMatchObject({ state: "skipped", parked: false, reason: "enough" });
      await box.inbox.park(new Set([CREATED]));
      expect(await box.claim()).toEqual([]);
      expect(await box.list({ state: "parked" })).toEqual([]);
    });

    test("giveUp refuses runs that run, have ended or do not exist", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claimed = await box.claimOne();
      expect(await box.inbox.giveUp(claimed.run, "enough")).toBe(false);
      expect(await box.finish(claimed)).toBe("recorded");
      expect(await box.inbox.giveUp(claimed.run, "enough")).toBe(false);
      expect(await box.stateOf("msg_1")).toBe("done");
      expect(await box.inbox.giveUp(4_711, "enough")).toBe(false);
    });

    test("giveUp of the last run deletes a one-time code", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { sensitive: true });
      await box.inbox.giveUp((await box.runOf("msg_1")).run, "enough");
      expect((await box.inbox.get("msg_1"))?.body).toBeNull();
    });
  });
}
