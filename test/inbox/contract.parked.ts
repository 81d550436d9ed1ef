// Every inbox parks the runs whose handler can't be loaded, and skips them after 24 hours.

import { describe, expect, test } from "bun:test";

import { at, CREATED, CRM, DAY, emptyBox, HOUR, ids, type OpenInbox, retry, run, UPDATED } from "./box.ts";

export function parkedContract(name: string, open: OpenInbox): void {
  const parked = (handler: string) => [run(handler, { parked: true })];

  describe(`${name}: parked runs`, () => {
    test("a parked run is not claimed, and does not block its order key", async () => {
      await using box = await emptyBox(open);
      await box.accept("parked", { at: at(1) }, parked(CREATED));
      await box.accept("next", { at: at(2), type: UPDATED });
      expect(ids(await box.claim())).toEqual(["next"]);
      expect(await box.runOf("parked")).toMatchObject({ state: "waiting", parked: true });
    });

    test("when a file loads again, its runs return to their place in the order", async () => {
      await using box = await emptyBox(open);
      await box.accept("parked", { at: at(1) }, parked(CREATED));
      await box.accept("next", { at: at(2), type: UPDATED });
      await box.inbox.park(new Set([CREATED, UPDATED]));
      expect(await box.runOf("parked")).toMatchObject({ parked: false });
      await box.claimAndFinish();
      expect((await box.claimOne()).delivery.id).toBe("next");
    });

    test("an unparked run is stale when a later event is done", async () => {
      await using box = await emptyBox(open);
      await box.accept("parked", { at: at(1) }, parked(CREATED));
      await box.accept("next", { at: at(2), type: UPDATED });
      await box.claimAndFinish();
      await box.inbox.park(new Set([CREATED, UPDATED]));
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "parked" }, stale: true });
    });

    test("parks runs whose file was deleted, and their order keys continue", async () => {
      await using box = await emptyBox(open);
      await box.accept("head", { at: at(1) });
      await box.accept("next", { at: at(2), type: UPDATED });
      await box.accept("unordered", { subject: null });
      await box.inbox.park(new Set([UPDATED]));
      expect(ids(await box.claim())).toEqual(["next"]);
      await box.inbox.park(new Set([CREATED, UPDATED]));
      expect(ids(await box.claim())).toEqual(["unordered"]);
    });

    test("an unparked run is due at once, whatever its delay was", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(12 * HOUR));
      await box.inbox.park(new Set());
      await box.inbox.park(new Set([CREATED]));
      expect(await box.claimOne()).toMatchObject({ spent: 1 });
    });

    test("parking again for the same files changes nothing", async () => {
      await using box = await emptyBox(open);
      await box.accept("loaded");
      await box.claimAndFinish(retry(HOUR));
      await box.accept("parked", { subject: "user_2", type: UPDATED }, parked(UPDATED));
      for (let n = 0; n < 3; n += 1) await box.inbox.park(new Set([CREATED]));
      expect(await box.runOf("loaded")).toMatchObject({ parked: false, due: HOUR });
      expect(await box.runOf("parked")).toMatchObject({ parked: true });
      expect(await box.claim()).toEqual([]);
    });

    test("a parked run does not affect other runs of its delivery", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM, { parked: true })]);
      const claimed = await box.claimOne([CREATED, CRM]);
      expect(claimed.handler).toBe(CREATED);
      await box.finish(claimed);
      await box.inbox.park(new Set([CREATED, CRM]));
      expect((await box.claimOne([CREATED, CRM])).handler).toBe(CRM);
    });

    test("a run is skipped after exactly 24 hours without its file", async () => {
      await using box = await emptyBox(open);
      await box.accept("parked", {}, parked(CREATED));
      box.clocks.pass(DAY - 1);
      await box.inbox.sweep();
      expect(await box.stateOf("parked")).toBe("waiting");
      await box.reopen();
      box.clocks.pass(1);
      await box.inbox.sweep();
      expect(await box.runOf("parked")).toMatchObject({
        state: "skipped",
        reason: expect.stringContaining("24 hours"),
      });
      await box.inbox.park(new Set([CREATED]));
      expect(await box.claim()).toEqual([]);
    });

    test("the 24 hours start again when the file was loaded in between", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.inbox.park(new Set());
      box.clocks.pass(20 * HOUR);
      await box.inbox.park(new Set([CREATED]));
      await box.inbox.park(new Set());
      box.clocks.pass(20 * HOUR);
      await box.inbox.sweep();
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test("a sweep does not skip waiting runs that are not parked", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      box.clocks.pass(30 * DAY);
      await box.inbox.sweep();
      expect(await box.claim()).toHaveLength(1);
    });

    test("a sweep skips any number of parked runs and deletes their one-time codes", async () => {
      await using box = await emptyBox(open);
      await Promise.all(
        Array.from({ length: 1_200 }, (_, n) =>
          box.accept(`msg_${n}`, { subject: `user_${n}`, sensitive: true }, parked(CREATED)),
        ),
      );
      box.clocks.pass(DAY);
      await box.inbox.sweep();
      const views = await Promise.all(Array.from({ length: 1_200 }, (_, n) => box.inbox.get(`msg_${n}`)));
      expect(views.filter((view) => view?.body !== null)).toHaveLength(0);
      expect(views.filter((view) => view?.runs[0]?.state !== "skipped")).toHaveLength(0);
    });
  });

  describe(`${name}: parking thousands of runs`, () => {
    const COUNT = 1_300;

    test("parks and unparks thousands of runs, also when the files change meanwhile", async () => {
      await using box = await emptyBox(open);
      await Promise.all(Array.from({ length: COUNT }, (_, n) => box.accept(`n${n}`, { subject: `user_${n % 700}` })));
      await box.accept("other", { type: UPDATED, subject: "user_x" });
      const parkedDeliveries = () => box.list({ state: "parked" });
      await box.inbox.park(new Set([UPDATED]));
      expect(await parkedDeliveries()).toHaveLength(COUNT);
      expect(ids(await box.claim([CREATED, UPDATED]))).toEqual(["other"]);
      // Of several reloads in quick succession, the last one wins.
      await Promise.all([[CREATED], [], [CREATED, UPDATED]].map((loaded) => box.inbox.park(new Set(loaded))));
      expect(await parkedDeliveries()).toHaveLength(0);
      expect(await box.claim([CREATED], COUNT)).toHaveLength(700);
    });

    test("a sweep skips thousands of parked runs of one order key", async () => {
      await using box = await emptyBox(open);
      const accepted = Array.from({ length: COUNT }, (_, n) => box.accept(`n${n}`, {}, parked(CREATED)));
      await Promise.all(accepted);
      box.clocks.pass(DAY);
      await box.inbox.sweep();
      expect(await box.list({ state: "skipped" })).toHaveLength(COUNT);
    });

    test("a delivery is accepted while thousands of runs are being parked", async () => {
      await using box = await emptyBox(open);
      await Promise.all(Array.from({ length: 2 * COUNT }, (_, n) => box.accept(`n${n}`, { subject: `user_${n}` })));
      const order: string[] = [];
      const parking = box.inbox.park(new Set()).then(() => order.push("parked"));
      await box.accept("live", { type: UPDATED, subject: "user_live" }).then(() => order.push("accepted"));
      await parking;
      expect(order).toEqual(["accepted", "parked"]);
    });

    test("the last of two calls wins when it arrives as the first one ends", async () => {
      for (let turns = 0; turns < 12; turns += 1) {
        await using box = await emptyBox(open);
        await box.accept("msg_1");
        const calls: Promise<void>[] = [box.inbox.park(new Set())];
        await box.inbox.giveUp(0, "no such run");
        for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
        calls.push(box.inbox.park(new Set([CREATED])));
        await Promise.all(calls);
        expect(await box.runOf("msg_1"), `after ${turns} turns`).toMatchObject({ parked: false });
      }
    });
  });
}
