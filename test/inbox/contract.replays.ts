// What every inbox has to do when deliveries are run again in bulk.

import { describe, expect, test } from "bun:test";

import type { Inbox, Outcome } from "../../src/inbox/inbox.ts";
import type { ReplayHandler, ReplayQuery, ReplayStep } from "../../src/inbox/queries.ts";
import { at, CREATED, dead, done, emptyBox, HOUR, ids, type OpenInbox, retry, run, SECOND, UPDATED } from "./box.ts";

export function replayContract(name: string, open: OpenInbox): void {
  type Box = Awaited<ReturnType<typeof emptyBox>>;
  const CRM = "user.created/crm";
  const ALL = [CREATED, UPDATED, CRM];
  const handler = (name: string, more: Partial<ReplayHandler> = {}): ReplayHandler => ({
    ...run(name),
    event: name.split("/")[0]!,
    ...more,
  });
  const handlers = ALL.map((each) => handler(each));
  const every: ReplayQuery = {
    dead: false,
    handler: null,
    type: null,
    subject: null,
    since: null,
    until: null,
    stale: false,
  };
  const deadOnes: ReplayQuery = { ...every, dead: true };
  const nothing = { stale: 0, wiped: 0, gone: 0, more: false };

  /** Takes every step; returns what they came to. */
  async function addAll(inbox: Inbox, query: ReplayQuery, replay = "again", limit = 500, known = handlers) {
    const steps: ReplayStep[] = [];
    for (let after: number | null = 0; after !== null;) {
      const step: ReplayStep = await inbox.addReplays(query, known, replay, after, limit);
      steps.push(step);
      after = step.next;
    }
    const sum = (count: "added" | "stale" | "wiped" | "gone") => steps.reduce((total, step) => total + step[count], 0);
    return { steps, added: sum("added"), stale: sum("stale"), wiped: sum("wiped"), gone: sum("gone") };
  }

  /** Runs what may go, all of it the same way. Returns the ids in their order. */
  async function runAll(box: Box, outcome: Outcome = done): Promise<string[]> {
    const order: string[] = [];
    for (let tickets = await box.claim(ALL); tickets.length > 0; tickets = await box.claim(ALL))
      for (const ticket of tickets) {
        order.push(ticket.delivery.id);
        await box.settle(ticket, outcome);
      }
    return order;
  }

  describe(`${name}: running the dead again`, () => {
    test("each dead run gets one more, and when that went well there is nothing left to run again", async () => {
      await using box = await emptyBox(open);
      await box.accept("well", { subject: "user_0" });
      await runAll(box);
      for (const n of [1, 2, 3]) await box.accept(`n${n}`, { subject: `user_${n}` }, [run(CREATED), run(CRM)]);
      await runAll(box, dead);
      expect(await box.inbox.replayable(deadOnes, handlers)).toEqual({ found: 6, ...nothing });
      expect(await addAll(box.inbox, deadOnes)).toMatchObject({ added: 6, stale: 0, wiped: 0, gone: 0 });
      expect(await box.inbox.replayable(deadOnes, handlers)).toEqual({ found: 0, ...nothing });
      await runAll(box);
      expect((await box.inbox.get("n1"))?.runs).toMatchObject([
        { handler: CREATED, replay: "", state: "dead" },
        { handler: CRM, replay: "", state: "dead" },
        { handler: CREATED, replay: "again", state: "done" },
        { handler: CRM, replay: "again", state: "done" },
      ]);
      expect((await addAll(box.inbox, deadOnes, "once more")).added).toBe(0);
    });

    test("what dies again while the command goes on is not run again by it, but by the next one", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2, 3]) await box.accept(`n${n}`, { subject: `user_${n}` });
      await runAll(box, dead);
      let after: number | null = 0;
      const added: number[] = [];
      while (after !== null) {
        const step: ReplayStep = await box.inbox.addReplays(deadOnes, handlers, "again", after, 1);
        added.push(step.added);
        after = step.next;
        await runAll(box, dead);
      }
      expect(added.filter(Boolean)).toEqual([1, 1, 1]);
      expect((await addAll(box.inbox, deadOnes)).added).toBe(0);
      expect(await box.inbox.replayable(deadOnes, handlers)).toMatchObject({ found: 3 });
      expect((await addAll(box.inbox, deadOnes, "next")).added).toBe(3);
    });

    test("a delivery whose runs are more than a step may add gets the others in the next ones", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`n${n}`, { subject: `user_${n}` }, [run(CREATED), run(CRM)]);
      await runAll(box, dead);
      for (const limit of [1, 3]) {
        const { added, steps } = await addAll(box.inbox, deadOnes, `limit ${limit}`, limit);
        expect(added).toBe(4);
        expect(Math.max(...steps.map((step) => step.added))).toBe(limit);
        await runAll(box, dead);
      }
    });

    test("runs of a handler that is gone are left out, and counted", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM)]);
      await runAll(box, dead);
      const known = [handler(CREATED)];
      expect(await box.inbox.replayable(deadOnes, known)).toEqual({ found: 1, ...nothing, gone: 1 });
      expect(await addAll(box.inbox, deadOnes, "again", 500, known)).toMatchObject({ added: 1, gone: 1 });
      const other = { ...deadOnes, handler: CREATED };
      expect(await box.inbox.replayable(other, known)).toEqual({ found: 0, ...nothing });
    });

    test("a dead run that was run again by its id and went well is dead no longer", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await runAll(box, dead);
      await box.inbox.replay("msg_1", "by id", [run(CREATED)]);
      expect(await box.inbox.replayable(deadOnes, handlers)).toMatchObject({ found: 0 });
      await runAll(box, dead);
      expect(await box.inbox.replayable(deadOnes, handlers)).toMatchObject({ found: 1 });
    });

    test.each<[string, Partial<ReplayQuery>, number]>([
      ["a handler", { handler: CRM }, 1],
      ["an event", { type: UPDATED }, 1],
      ["a pattern", { type: "user.c*" }, 3],
      ["a subject", { subject: "user_2" }, 1],
      ["the time of receipt", { since: at(2), until: at(3) }, 2],
      ["several of them", { since: at(2), type: CREATED }, 1],
    ])("they can be narrowed by %s", async (_, narrowed, found) => {
      await using box = await emptyBox(open);
      await box.accept("n1", { subject: "user_1", receivedAt: at(1) }, [run(CREATED), run(CRM)]);
      await box.accept("n2", { subject: "user_2", receivedAt: at(2) });
      await box.accept("n3", { subject: "user_3", receivedAt: at(3), type: UPDATED });
      await runAll(box, dead);
      expect(await box.inbox.replayable({ ...deadOnes, ...narrowed }, handlers)).toEqual({ found, ...nothing });
      expect((await addAll(box.inbox, { ...deadOnes, ...narrowed })).added).toBe(found);
    });
  });

  describe(`${name}: running all again`, () => {
    test("every delivery that fits gets a run of each handler that matches it now", async () => {
      await using box = await emptyBox(open);
      await box.accept("created");
      await box.accept("updated", { type: UPDATED });
      await box.accept("unhandled", { subject: null }, []);
      await box.accept("other", { type: "session.created" }, []);
      const pattern = handler("user.[action]", { event: "user.*", lane: "pattern", parked: true });
      const known = [...handlers, pattern];
      expect(await box.inbox.replayable(every, known)).toEqual({ found: 8, ...nothing });
      expect((await addAll(box.inbox, every, "again", 500, known)).added).toBe(8);
      const runs = (await box.inbox.get("created"))?.runs ?? [];
      expect(runs.map((each) => [each.handler, each.replay, each.parked])).toEqual([
        [CREATED, "", false],
        [CREATED, "again", false],
        [CRM, "again", false],
        ["user.[action]", "again", true],
      ]);
      expect((await box.inbox.get("other"))?.runs).toEqual([]);
      expect((await addAll(box.inbox, every, "again", 1, known)).added).toBe(0);
      expect((await addAll(box.inbox, { ...every, handler: CRM }, "twice", 500, known)).added).toBe(2);
    });

    test("a step that is repeated adds nothing, also when both are asked for at once", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) await box.accept(`n${n}`, {}, []);
      const step = () => box.inbox.addReplays({ ...every, handler: CRM }, handlers, "again", 0, 10);
      expect((await Promise.all([step(), step()])).map(({ added }) => added)).toEqual([5, 0]);
    });

    test("live deliveries go first, and among themselves they go in the order of their events", async () => {
      await using box = await emptyBox(open);
      for (const n of [3, 1, 2]) await box.accept(`n${n}`, { at: at(n) }, []);
      await addAll(box.inbox, { ...every, handler: CREATED });
      await box.accept("live", { at: at(9) });
      expect(await runAll(box)).toEqual(["live", "n1", "n2", "n3"]);
    });

    test("it cuts the wait of the same run short", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(HOUR));
      await addAll(box.inbox, { ...every, handler: CREATED });
      const first = await box.claimOne();
      expect(first).toMatchObject({ replay: "", spent: 1 });
      await box.settle(first);
      expect((await box.claimOne()).replay).toBe("again");
    });

    test("what was overtaken in its lane, or has lost its payload, is left out and counted", async () => {
      await using box = await emptyBox(open);
      await box.accept("old", { at: at(1) }, []);
      await box.accept("new", { at: at(2) });
      await box.accept("wiped", { sensitive: true, subject: "user_2" });
      await runAll(box);
      const query = { ...every, handler: CREATED };
      expect(await box.inbox.replayable(query, handlers)).toEqual({ found: 1, ...nothing, stale: 1, wiped: 1 });
      expect(await addAll(box.inbox, query, "again", 1)).toMatchObject({ added: 1, stale: 1, wiped: 1 });
      expect((await addAll(box.inbox, { ...query, handler: CRM }, "crm")).added).toBe(2);
      const stale = await addAll(box.inbox, { ...query, stale: true });
      expect(stale).toMatchObject({ added: 1, stale: 0, wiped: 1 });
      expect(ids((await box.claim()).filter((ticket) => ticket.stale))).toEqual(["old"]);
    });

    test("counting ends at the limit, and says so", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) await box.accept(`n${n}`, {}, []);
      expect(await box.inbox.replayable({ ...every, handler: CRM }, handlers, 4)).toMatchObject({
        found: 4,
        more: true,
      });
      expect(await box.inbox.replayable({ ...every, handler: CRM }, handlers, 6)).toMatchObject({
        found: 5,
        more: false,
      });
    });

    test("thousands are added in small steps that miss none", async () => {
      await using box = await emptyBox(open);
      const count = 2_300;
      await Promise.all(Array.from({ length: count }, (_, n) => box.accept(`n${n}`, { subject: `user_${n}` }, [])));
      const { steps, added } = await addAll(box.inbox, { ...every, handler: CRM }, "again", 400);
      expect(added).toBe(count);
      expect(Math.max(...steps.map((step) => step.added))).toBe(400);
    });

    test("how they stand is told of one handler, and of all", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`n${n}`, { subject: `user_${n}` }, []);
      const { runs } = await box.inbox.addReplays(every, handlers, "again", 0, 10);
      if (!runs) throw new Error("no runs");
      await box.settle((await box.claim([CRM], 1))[0]!, dead);
      await box.settle((await box.claim([CREATED], 1))[0]!);
      const none = { done: 0, dead: 0, skipped: 0, waiting: 0, going: 0 };
      expect(await box.inbox.states(CRM, runs)).toEqual({ ...none, dead: 1, waiting: 1, going: 1 });
      expect(await box.inbox.states(null, runs)).toEqual({ ...none, done: 1, dead: 1, waiting: 2, going: 2 });
      await box.settle((await box.claim([CREATED], 1))[0]!, retry(5 * SECOND));
      expect(await box.inbox.states(null, runs)).toEqual({ ...none, done: 1, dead: 1, waiting: 2, going: 1 });
    });

    test("whoever waits for work hears of them", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, []);
      let woken = 0;
      box.inbox.onWork(() => (woken += 1));
      await addAll(box.inbox, { ...every, handler: CRM });
      expect(woken).toBe(1);
    });
  });
}
