// Every inbox can give a handler the deliveries that it never saw.

import { describe, expect, test } from "bun:test";

import type { Inbox } from "../../src/inbox/inbox.ts";
import type { DeliveryFilter, KnownHandler, ReplaySelection } from "../../src/inbox/views.ts";
import {
  at,
  CREATED,
  CRM,
  dead,
  done,
  emptyBox,
  expectWork,
  ids,
  knownHandler,
  type OpenInbox,
  replayAll,
  retry,
  run,
  SECOND,
  skipped,
  UPDATED,
} from "./box.ts";

export function unseenContract(name: string, open: OpenInbox): void {
  describe(`${name}: deliveries that a handler never saw`, () => {
    /** A replay that gives a handler the deliveries that it never saw. */
    const unseenBy = (handler: KnownHandler, filter: DeliveryFilter = {}, stale = false) => ({
      filter: { ...filter, neverSeenBy: handler },
      handlers: [handler],
      stale,
      bulk: true,
      replay: "",
    });
    const crm = unseenBy(knownHandler(CRM));
    const nothing = { stale: 0, wiped: 0, gone: 0, more: false };
    const addAll = (inbox: Inbox, selection: ReplaySelection, limit = 500) =>
      replayAll(inbox, { ...selection, bulk: true, replay: "", limit });

    test("counts matching deliveries without a run of the handler, and adds one run for each", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.accept("msg_2", {}, []);
      await box.accept("msg_seen", {}, [run(CREATED), run(CRM)]);
      await box.accept("msg_other", { type: UPDATED });
      expect(await box.inbox.countReplay(crm)).toEqual({ found: 2, ...nothing });
      expect((await addAll(box.inbox, crm)).added).toBe(2);
      expect(await box.inbox.countReplay(crm)).toEqual({ found: 0, ...nothing });
      expect((await addAll(box.inbox, crm)).added).toBe(0);
      expect((await box.inbox.get("msg_2"))?.runs).toMatchObject([{ handler: CRM, replay: "", state: "waiting" }]);
      expect((await box.inbox.get("msg_1"))?.runs).toHaveLength(2);
      expect((await box.inbox.get("msg_seen"))?.runs).toHaveLength(2);
    });

    test("a replay by id does not count as seen", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, []);
      await box.replay("msg_1", "again", [knownHandler(CRM)]);
      expect((await addAll(box.inbox, crm)).added).toBe(1);
      expect((await box.inbox.get("msg_1"))?.runs).toMatchObject([{ replay: "again" }, { replay: "" }]);
    });

    test("a repeated step adds nothing, also when both run at the same time", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) await box.accept(`msg_${n}`);
      const step = () => box.inbox.replay({ ...crm, after: 0, limit: 10 });
      const steps = await Promise.all([step(), step()]);
      expect(new Set(steps.map(({ added }) => added))).toEqual(new Set([0, 5]));
    });

    test.each([
      ["user.created", 2],
      ["user.*", 3],
      ["*", 5],
      ["session.*", 0],
    ])("selects deliveries by the pattern %s", async (event, found) => {
      await using box = await emptyBox(open);
      for (const [n, type] of [CREATED, CREATED, UPDATED, "userx.created", "role.created"].entries())
        await box.accept(`msg_${n}`, { type }, []);
      const query = unseenBy({ handler: "pattern", lane: "pattern", parked: false, event });
      expect(await box.inbox.countReplay(query)).toEqual({ found, ...nothing });
      expect((await addAll(box.inbox, query)).added).toBe(found);
    });

    test("leaves out deliveries that were received before `since`", async () => {
      await using box = await emptyBox(open);
      for (let n = 1; n <= 4; n += 1) await box.accept(`msg_${n}`, { receivedAt: at(n) }, []);
      const query = unseenBy(knownHandler(CRM), { since: at(3) });
      expect((await box.inbox.countReplay(query)).found).toBe(2);
      expect((await addAll(box.inbox, query)).added).toBe(2);
      expect((await box.inbox.get("msg_2"))?.runs).toEqual([]);
      expect((await box.inbox.get("msg_3"))?.runs).toHaveLength(1);
    });

    test("stops counting at the limit and reports that there may be more", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) await box.accept(`msg_${n}`, {}, []);
      expect(await box.inbox.countReplay(crm, 4)).toEqual({ ...nothing, found: 4, more: true });
      expect(await box.inbox.countReplay(crm, 6)).toEqual({ found: 5, ...nothing });
    });

    test("adds thousands of runs in small steps without missing one", async () => {
      await using box = await emptyBox(open);
      const handler = (n: number) => (n % 3 === 0 ? [run(CRM)] : []);
      const count = 2_500;
      await Promise.all(
        Array.from({ length: count }, (_, n) => box.accept(`msg_${n}`, { subject: `user_${n}` }, handler(n))),
      );
      const missing = count - Math.ceil(count / 3);
      expect((await box.inbox.countReplay(crm)).found).toBe(missing);
      const { steps, added } = await addAll(box.inbox, crm, 100);
      expect(added).toBe(missing);
      expect(Math.max(...steps.map((step) => step.added))).toBe(100);
      expect((await box.inbox.countReplay(crm)).found).toBe(0);
    });

    test("leaves out and counts deliveries whose payload was deleted", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { sensitive: true });
      await box.claimAndFinish();
      await box.accept("msg_2", { sensitive: true }, []);
      expect(await box.inbox.countReplay(crm)).toEqual({ ...nothing, found: 1, wiped: 1 });
      expect(await addAll(box.inbox, crm)).toMatchObject({ added: 1, wiped: 1 });
      await box.claimAndFinish(done, [CRM]);
      expect((await box.inbox.get("msg_2"))?.body).toBeNull();
    });

    test("leaves out and counts stale deliveries unless they are requested", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_old", { type: UPDATED, at: at(1) }, []);
      await box.accept("msg_sample", { type: UPDATED, at: at(1), sample: true }, []);
      await box.accept("msg_new", { at: at(2) });
      await box.claimAndFinish();
      const query = unseenBy(knownHandler(UPDATED));
      await box.accept("msg_same", { type: UPDATED, at: at(2) }, []);
      expect(await box.inbox.countReplay(query)).toEqual({ ...nothing, found: 2, stale: 1 });
      expect((await addAll(box.inbox, query)).added).toBe(2);
      expect((await addAll(box.inbox, { ...query, stale: true })).added).toBe(1);
      expect((await box.claim()).filter(({ stale }) => stale)).toMatchObject([{ delivery: { id: "msg_old" } }]);
    });

    test("added runs run in event order, whatever the order of their arrival", async () => {
      await using box = await emptyBox(open);
      for (const n of [3, 1, 2]) await box.accept(`msg_${n}`, { at: at(n) }, []);
      await addAll(box.inbox, crm);
      const order: string[] = [];
      for (let n = 0; n < 3; n += 1) {
        const claimed = await box.claimOne([CRM]);
        order.push(claimed.delivery.id);
        await box.finish(claimed);
      }
      expect(order).toEqual(["msg_1", "msg_2", "msg_3"]);
    });

    test("live deliveries run first, within an order key and within a handler's slots", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2, 3]) await box.accept(`msg_${n}`, { at: at(n), subject: `user_${n}` }, []);
      await addAll(box.inbox, crm);
      box.clocks.pass(SECOND);
      await box.accept("msg_live", { at: at(9), subject: "user_1" }, [run(CRM)]);
      await box.accept("msg_other", { at: at(9), subject: "user_9" }, [run(CRM)]);
      expect(ids(await box.claim([CRM], 2))).toEqual(["msg_live", "msg_other"]);
      expect(ids(await box.claim([CRM], 9))).toEqual(["msg_2", "msg_3"]);
    });

    test("reports work for added runs", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, []);
      await expectWork(box.inbox, () => addAll(box.inbox, crm));
    });

    test("reports progress, and which waiting runs are active", async () => {
      await using box = await emptyBox(open);
      const subjects = ["a", "b", "c", "c", "d"];
      for (const [n, subject] of subjects.entries()) await box.accept(`msg_${n}`, { at: at(n), subject }, []);
      const { runs } = await box.inbox.replay({ ...crm, after: 0, limit: 10 });
      if (!runs) throw new Error("no runs");
      await box.accept("msg_live", { subject: "z" }, [run(CRM)]);
      const progress = () => box.inbox.replayProgress(CRM, { first: runs.first, last: runs.last + 1 });
      expect(await progress()).toEqual({ done: 0, dead: 0, skipped: 0, waiting: 5, active: 5 });
      const claimed = new Map((await box.claim([CRM])).map((claimedRun) => [claimedRun.delivery.id, claimedRun]));
      await box.finish(claimed.get("msg_0")!);
      await box.finish(claimed.get("msg_1")!, dead);
      await box.finish(claimed.get("msg_4")!, skipped);
      expect(await progress()).toEqual({ done: 1, dead: 1, skipped: 1, waiting: 2, active: 2 });
      await box.finish(claimed.get("msg_2")!, retry(5 * SECOND));
      expect(await progress()).toEqual({ done: 1, dead: 1, skipped: 1, waiting: 2, active: 0 });
      box.clocks.pass(5 * SECOND);
      expect(await progress()).toMatchObject({ waiting: 2, active: 2 });
      await box.inbox.park(new Set());
      expect(await progress()).toMatchObject({ waiting: 2, active: 0 });
    });

    test("a parked run is not active, although others of its order key are", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { type: UPDATED }, []);
      await box.accept("msg_2");
      const query = unseenBy(knownHandler(UPDATED));
      const { runs } = await box.inbox.replay({ ...query, after: 0, limit: 10 });
      expect(await box.inbox.replayProgress(UPDATED, runs!)).toMatchObject({ waiting: 1, active: 1 });
      await box.inbox.park(new Set([CREATED]));
      expect(await box.inbox.replayProgress(UPDATED, runs!)).toMatchObject({ waiting: 1, active: 0 });
    });

    test("added runs persist when the inbox is closed and opened again", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, []);
      await addAll(box.inbox, crm);
      await box.reopen();
      expect((await box.inbox.countReplay(crm)).found).toBe(0);
      expect(ids(await box.claim([CRM]))).toEqual(["msg_1"]);
    });
  });
}
