// Every inbox runs the events of a lane and subject one at a time, in event order, and knows which are stale.

import { describe, expect, test } from "bun:test";

import {
  at,
  CREATED,
  CRM,
  dead,
  DELETED,
  emptyBox,
  HOUR,
  ids,
  type OpenInbox,
  retry,
  run,
  SECOND,
  skipped,
  UPDATED,
} from "./box.ts";

export function orderContract(name: string, open: OpenInbox): void {
  describe(`${name}: order`, () => {
    test("runs of one lane and subject run one at a time, in event order", async () => {
      await using box = await emptyBox(open);
      await box.accept("deleted", { type: DELETED, at: at(3) });
      await box.accept("created", { type: CREATED, at: at(1) });
      await box.accept("updated", { type: UPDATED, at: at(2) });
      for (const id of ["created", "updated", "deleted"]) {
        const claimed = await box.claimOne();
        expect(claimed).toMatchObject({ delivery: { id }, stale: false });
        expect(await box.claim()).toEqual([]);
        await box.finish(claimed);
      }
      expect(await box.claim()).toEqual([]);
    });

    test("events with equal times run in order of arrival, and none is stale", async () => {
      await using box = await emptyBox(open);
      for (const id of ["first", "second", "third"]) await box.accept(id, { at: at(1) });
      for (const id of ["first", "second", "third"]) {
        const claimed = await box.claimOne();
        expect(claimed).toMatchObject({ delivery: { id }, stale: false });
        await box.finish(claimed);
      }
    });

    test("a later event waits while an earlier one is retried", async () => {
      await using box = await emptyBox(open);
      await box.accept("created", { at: at(1) });
      await box.accept("deleted", { type: DELETED, at: at(2) });
      await box.claimAndFinish(retry(10 * SECOND));
      expect(await box.claim()).toEqual([]);
      box.clocks.pass(10 * SECOND);
      await box.claimAndFinish();
      expect((await box.claimOne()).delivery.id).toBe("deleted");
    });

    test("other subjects, other lanes and samples do not wait", async () => {
      await using box = await emptyBox(open);
      await box.accept("first");
      await box.claimOne();
      await box.accept("same");
      await box.accept("other", { subject: "user_2" });
      await box.accept("crm", {}, [run(CRM)]);
      await box.accept("sample", { sample: true });
      await box.accept("sample_later", { sample: true, at: at(1) });
      const runs = await box.claim([CREATED, CRM]);
      expect(ids(runs).toSorted()).toEqual(["crm", "other", "sample"]);
      expect(runs.every(({ stale }) => !stale)).toBe(true);
    });

    test("events without a subject never wait for each other and are never stale", async () => {
      await using box = await emptyBox(open);
      await box.accept("late", { subject: null, at: at(9) });
      await box.claimAndFinish();
      for (const id of ["a", "b", "c"]) await box.accept(id, { subject: null, at: at(1) });
      const runs = await box.claim();
      expect(ids(runs).toSorted()).toEqual(["a", "b", "c"]);
      expect(runs.every(({ stale }) => !stale)).toBe(true);
      await box.finish(runs[0]!, retry(SECOND));
      box.clocks.pass(SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("an earlier event that arrives late runs at once, before a run that waits for its retry", async () => {
      await using box = await emptyBox(open);
      await box.accept("updated", { type: UPDATED, at: at(5) });
      await box.claimAndFinish(retry(HOUR));
      await box.accept("created", { at: at(1) });
      const claimed = await box.claimOne();
      expect(claimed).toMatchObject({ delivery: { id: "created" }, stale: false });
      box.clocks.pass(HOUR);
      expect(await box.claim()).toEqual([]);
      await box.finish(claimed);
      expect((await box.claimOne()).delivery.id).toBe("updated");
    });

    test("an earlier event that arrives while a later one runs waits for its end", async () => {
      await using box = await emptyBox(open);
      await box.accept("updated", { type: UPDATED, at: at(5) });
      const running = await box.claimOne();
      await box.accept("created", { at: at(1) });
      expect(await box.claim()).toEqual([]);
      // After the failure, the earlier event is the head, although the later one is due.
      await box.finish(running, retry(0));
      expect((await box.claimOne()).delivery.id).toBe("created");
    });

    test("a run is stale only when a later event is done", async () => {
      await using box = await emptyBox(open);
      await box.accept("later", { at: at(5) });
      const running = await box.claimOne();
      for (const second of [4, 5, 6]) await box.accept(`at_${second}`, { at: at(second) });
      await box.finish(running);
      for (const [id, stale] of [
        ["at_4", true],
        ["at_5", false],
        ["at_6", false],
      ] as const) {
        const claimed = await box.claimOne();
        expect(claimed).toMatchObject({ delivery: { id }, stale });
        await box.finish(claimed);
      }
    });

    test("a stale run that is done does not make other runs fresh", async () => {
      await using box = await emptyBox(open);
      await box.accept("later", { at: at(5) });
      await box.claimAndFinish();
      await box.accept("early", { at: at(1) });
      await box.claimAndFinish();
      await box.accept("middle", { at: at(3) });
      expect((await box.claimOne()).stale).toBe(true);
    });

    test.each([
      ["dead", dead],
      ["skipped", skipped],
    ])("a %s run unblocks its order key and makes nothing stale", async (state, outcome) => {
      await using box = await emptyBox(open);
      await box.accept("first", { at: at(5) });
      await box.accept("next", { at: at(6) });
      await box.claimAndFinish(outcome);
      expect(await box.runOf("first")).toMatchObject({
        state,
        reason: "reason" in outcome ? outcome.reason : "",
        due: null,
      });
      expect((await box.claimOne()).delivery.id).toBe("next");
      await box.accept("late", { at: at(1), subject: "user_2" });
      await box.accept("earlier", { at: at(1) });
      expect((await box.claim()).every(({ stale }) => !stale)).toBe(true);
    });

    // An escape in JSON may be half of a surrogate pair, which no database stores. The store's text then differs from the
    // event's, and an order key that is compared with it must still be found.
    test.each(["a\0b", "a\ud800b"])(
      "keeps the order of a subject that no database stores as it is: %j",
      async (subject) => {
        await using box = await emptyBox(open);
        await box.accept("later", { at: at(5), subject });
        const running = await box.claimOne();
        await box.accept("second", { at: at(2), subject });
        await box.accept("first", { at: at(1), subject });
        expect(await box.claim()).toEqual([]);
        await box.finish(running);
        expect((await box.claimOne()).delivery.id).toBe("first");
      },
    );
  });
}
