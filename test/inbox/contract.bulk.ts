// Every inbox can run stored deliveries again in bulk.

import { describe, expect, test } from "bun:test";

import type { Inbox, Outcome } from "../../src/inbox/inbox.ts";
import type { DeliveryFilter, ReplaySelection, ReplayStep } from "../../src/inbox/views.ts";
import {
  at,
  type Box,
  CREATED,
  CRM,
  dead,
  done,
  emptyBox,
  expectWork,
  HOUR,
  ids,
  knownHandler,
  type OpenInbox,
  replayAll,
  retry,
  run,
  SECOND,
  UPDATED,
} from "./box.ts";

export function bulkContract(name: string, open: OpenInbox): void {
  const ALL = [CREATED, UPDATED, CRM];
  const everything: ReplaySelection = {
    filter: {},
    handlers: ALL.map((handler) => knownHandler(handler)),
    stale: false,
  };
  const only = (handler: string) => ({ ...everything, handlers: [knownHandler(handler)] });
  const deadRuns: ReplaySelection = { ...everything, filter: { state: "dead" } };
  const nothing = { stale: 0, wiped: 0, gone: 0, more: false };

  const addAll = (inbox: Inbox, selection: ReplaySelection, replay = "again", limit = 500) =>
    replayAll(inbox, { ...selection, bulk: true, replay, limit });

  /** Claims and finishes runs with this outcome until none is due. Returns the ids of their deliveries in order. */
  async function runAll(box: Box, outcome: Outcome = done): Promise<string[]> {
    const order: string[] = [];
    for (let claimed = await box.claim(ALL); claimed.length > 0; claimed = await box.claim(ALL))
      for (const claimedRun of claimed) {
        order.push(claimedRun.delivery.id);
        await box.finish(claimedRun, outcome);
      }
    return order;
  }

  describe(`${name}: replaying dead runs`, () => {
    test("adds one run for each dead run, and nothing once those are done", async () => {
      await using box = await emptyBox(open);
      await box.accept("well", { subject: "user_0" });
      await runAll(box);
      for (const n of [1, 2, 3]) await box.accept(`n${n}`, { subject: `user_${n}` }, [run(CREATED), run(CRM)]);
      await runAll(box, dead);
      expect(await box.inbox.countReplay(deadRuns)).toEqual({ found: 6, ...nothing });
      expect(await addAll(box.inbox, deadRuns)).toMatchObject({ added: 6, stale: 0, wiped: 0, gone: 0 });
      expect(await box.inbox.countReplay(deadRuns)).toEqual({ found: 0, ...nothing });
      await runAll(box);
      expect((await box.inbox.get("n1"))?.runs).toMatchObject([
        { handler: CREATED, replay: "", state: "dead" },
        { handler: CRM, replay: "", state: "dead" },
        { handler: CREATED, replay: "again", state: "done" },
        { handler: CRM, replay: "again", state: "done" },
      ]);
      expect((await addAll(box.inbox, deadRuns, "once more")).added).toBe(0);
    });

    test("a replay does not add a run again that dies during it, but the next replay does", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2, 3]) await box.accept(`n${n}`, { subject: `user_${n}` });
      await runAll(box, dead);
      let after: number | null = 0;
      const added: number[] = [];
      while (after !== null) {
        const step: ReplayStep = await box.inbox.replay({ ...deadRuns, bulk: true, replay: "again", after, limit: 1 });
        added.push(step.added);
        after = step.next;
        await runAll(box, dead);
      }
      expect(added.filter(Boolean)).toEqual([1, 1, 1]);
      expect((await addAll(box.inbox, deadRuns)).added).toBe(0);
      expect(await box.inbox.countReplay(deadRuns)).toMatchObject({ found: 3 });
      expect((await addAll(box.inbox, deadRuns, "next")).added).toBe(3);
    });

    test("a delivery with more runs than a step may add gets the others in later steps", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`n${n}`, { subject: `user_${n}` }, [run(CREATED), run(CRM)]);
      await runAll(box, dead);
      for (const limit of [1, 3]) {
        const { added, steps } = await addAll(box.inbox, deadRuns, `limit ${limit}`, limit);
        expect(added).toBe(4);
        expect(Math.max(...steps.map((step) => step.added))).toBe(limit);
        await runAll(box, dead);
      }
    });

    test("leaves out and counts runs of a handler that no longer exists", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM)]);
      await runAll(box, dead);
      const known = { ...deadRuns, handlers: [knownHandler(CREATED)] };
      expect(await box.inbox.countReplay(known)).toEqual({ found: 1, ...nothing, gone: 1 });
      expect(await addAll(box.inbox, known)).toMatchObject({ added: 1, gone: 1 });
      const other = { ...known, filter: { state: "dead", handler: CREATED } as const };
      expect(await box.inbox.countReplay(other)).toEqual({ found: 0, ...nothing });
    });

    test("only the latest run of a handler decides whether it is dead", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await runAll(box, dead);
      await box.replay("msg_1", "by id");
      expect(await box.inbox.countReplay(deadRuns)).toMatchObject({ found: 0 });
      await runAll(box, dead);
      expect(await box.inbox.countReplay(deadRuns)).toMatchObject({ found: 1 });
    });

    test.each<[string, DeliveryFilter, number]>([
      ["a handler", { handler: CRM }, 1],
      ["an event", { type: UPDATED }, 1],
      ["a pattern", { type: "user.c*" }, 3],
      ["a subject", { subject: "user_2" }, 1],
      ["the time of receipt", { since: at(2), until: at(3) }, 2],
      ["several fields", { since: at(2), type: CREATED }, 1],
    ])("selects dead runs by %s", async (_, filter, found) => {
      await using box = await emptyBox(open);
      await box.accept("n1", { subject: "user_1", receivedAt: at(1) }, [run(CREATED), run(CRM)]);
      await box.accept("n2", { subject: "user_2", receivedAt: at(2) });
      await box.accept("n3", { subject: "user_3", receivedAt: at(3), type: UPDATED });
      await runAll(box, dead);
      const selection = { ...deadRuns, filter: { ...filter, state: "dead" } as const };
      expect(await box.inbox.countReplay(selection)).toEqual({ found, ...nothing });
      expect((await addAll(box.inbox, selection)).added).toBe(found);
    });
  });

  describe(`${name}: replaying everything`, () => {
    test("adds a run of each handler that now matches a selected delivery", async () => {
      await using box = await emptyBox(open);
      await box.accept("created");
      await box.accept("updated", { type: UPDATED });
      await box.accept("unhandled", { subject: null }, []);
      await box.accept("other", { type: "session.created" }, []);
      const pattern = knownHandler("user.[action]", { event: "user.*", lane: "pattern", parked: true });
      const known = { ...everything, handlers: [...everything.handlers, pattern] };
      expect(await box.inbox.countReplay(known)).toEqual({ found: 8, ...nothing });
      expect((await addAll(box.inbox, known)).added).toBe(8);
      const runs = (await box.inbox.get("created"))?.runs ?? [];
      expect(runs.map(({ handler, replay, parked }) => [handler, replay, parked])).toEqual([
        [CREATED, "", false],
        [CREATED, "again", false],
        [CRM, "again", false],
        ["user.[action]", "again", true],
      ]);
      expect((await box.inbox.get("other"))?.runs).toEqual([]);
      expect((await addAll(box.inbox, known, "again", 1)).added).toBe(0);
      expect((await addAll(box.inbox, only(CRM), "twice")).added).toBe(2);
    });

    test("a repeated step adds nothing, also when both run at the same time", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) await box.accept(`n${n}`, {}, []);
      const step = () => box.inbox.replay({ ...only(CRM), bulk: true, replay: "again", after: 0, limit: 10 });
      const steps = await Promise.all([step(), step()]);
      expect(new Set(steps.map(({ added }) => added))).toEqual(new Set([0, 5]));
    });

    test("live deliveries run first, then added runs in event order", async () => {
      await using box = await emptyBox(open);
      for (const n of [3, 1, 2]) await box.accept(`n${n}`, { at: at(n) }, []);
      await addAll(box.inbox, only(CREATED));
      await box.accept("live", { at: at(9) });
      expect(await runAll(box)).toEqual(["live", "n1", "n2", "n3"]);
    });

    test("makes a waiting run of the same delivery and handler due now", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(HOUR));
      await addAll(box.inbox, only(CREATED));
      const first = await box.claimOne();
      expect(first).toMatchObject({ replay: "", spent: 1 });
      await box.finish(first);
      expect((await box.claimOne()).replay).toBe("again");
    });

    test("leaves out and counts stale deliveries and those whose payload was deleted", async () => {
      await using box = await emptyBox(open);
      await box.accept("old", { at: at(1) }, []);
      await box.accept("new", { at: at(2) });
      await box.accept("wiped", { sensitive: true, subject: "user_2" });
      await runAll(box);
      const query = only(CREATED);
      expect(await box.inbox.countReplay(query)).toEqual({ found: 1, ...nothing, stale: 1, wiped: 1 });
      expect(await addAll(box.inbox, query, "again", 1)).toMatchObject({ added: 1, stale: 1, wiped: 1 });
      expect((await addAll(box.inbox, only(CRM), "crm")).added).toBe(2);
      const stale = await addAll(box.inbox, { ...query, stale: true });
      expect(stale).toMatchObject({ added: 1, stale: 0, wiped: 1 });
      expect(ids((await box.claim()).filter((claimed) => claimed.stale))).toEqual(["old"]);
    });

    test("stops counting at the limit and reports that there may be more", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) await box.accept(`n${n}`, {}, []);
      expect(await box.inbox.countReplay(only(CRM), 4)).toMatchObject({
        found: 4,
        more: true,
      });
      expect(await box.inbox.countReplay(only(CRM), 6)).toMatchObject({
        found: 5,
        more: false,
      });
    });

    test("adds thousands of runs in small steps without missing one", async () => {
      await using box = await emptyBox(open);
      const count = 2_300;
      await Promise.all(Array.from({ length: count }, (_, n) => box.accept(`n${n}`, { subject: `user_${n}` }, [])));
      const { steps, added } = await addAll(box.inbox, only(CRM), "again", 400);
      expect(added).toBe(count);
      expect(Math.max(...steps.map((step) => step.added))).toBe(400);
    });

    test("reports the progress of one handler and of all handlers", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`n${n}`, { subject: `user_${n}` }, []);
      const { runs } = await box.inbox.replay({ ...everything, bulk: true, replay: "again", after: 0, limit: 10 });
      if (!runs) throw new Error("no runs");
      await box.finish((await box.claim([CRM], 1))[0]!, dead);
      await box.finish((await box.claim([CREATED], 1))[0]!);
      const none = { done: 0, dead: 0, skipped: 0, waiting: 0, active: 0 };
      expect(await box.inbox.replayProgress(CRM, runs)).toEqual({ ...none, dead: 1, waiting: 1, active: 1 });
      expect(await box.inbox.replayProgress(null, runs)).toEqual({ ...none, done: 1, dead: 1, waiting: 2, active: 2 });
      await box.finish((await box.claim([CREATED], 1))[0]!, retry(5 * SECOND));
      expect(await box.inbox.replayProgress(null, runs)).toEqual({ ...none, done: 1, dead: 1, waiting: 2, active: 1 });
    });

    test("reports work for added runs", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, []);
      await expectWork(box.inbox, () => addAll(box.inbox, only(CRM)));
    });
  });
}
