// Every inbox can run a stored delivery again by its id.

import { describe, expect, test } from "bun:test";

import {
  at,
  CREATED,
  CRM,
  dead,
  done,
  emptyBox,
  HOUR,
  knownHandler,
  type OpenInbox,
  retry,
  run,
  skipped,
} from "./box.ts";

export function replayContract(name: string, open: OpenInbox): void {
  describe(`${name}: replay by id`, () => {
    test.each([
      ["done", done],
      ["dead", dead],
      ["skipped", skipped],
    ])("replays a delivery that is %s, as a new run", async (state, outcome) => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(outcome);
      expect(await box.replay("msg_1", "again")).toMatchObject({ added: 1, stale: 0, wiped: 0, gone: 0 });
      const claimed = await box.claimOne();
      expect(claimed).toMatchObject({ replay: "again", spent: 0, interrupted: 0, stale: false });
      await box.finish(claimed);
      expect((await box.inbox.get("msg_1"))?.runs).toMatchObject([
        { state, replay: "" },
        { state: "done", replay: "again" },
      ]);
    });

    test("adds one run of a handler per replay id", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish();
      const again = async (replay: string) => (await box.replay("msg_1", replay)).added;
      expect(new Set(await Promise.all([again("one"), again("one")]))).toEqual(new Set([0, 1]));
      await box.claimAndFinish();
      expect(await again("one")).toBe(0);
      expect(await box.claim()).toEqual([]);
      expect(await again("two")).toBe(1);
      expect((await box.claimOne()).replay).toBe("two");
    });

    test("adds nothing for an unknown delivery", async () => {
      await using box = await emptyBox(open);
      expect(await box.replay("msg_1", "again")).toMatchObject({ added: 0, stale: 0, wiped: 0, gone: 0 });
    });

    test("replays an unhandled delivery with a handler that was added later", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, []);
      await box.replay("msg_1", "again", [knownHandler(CREATED), knownHandler(CRM, { parked: true })]);
      expect((await box.claimOne([CREATED, CRM])).handler).toBe(CREATED);
      expect(await box.runOf("msg_1", 1)).toMatchObject({ parked: true, state: "waiting" });
    });

    test("makes an earlier run of the same delivery and handler due now, and runs after it", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(12 * HOUR));
      await box.replay("msg_1", "again");
      const first = await box.claimOne();
      expect(first).toMatchObject({ replay: "", spent: 1 });
      await box.finish(first);
      expect(await box.claimOne()).toMatchObject({ replay: "again", spent: 0 });
    });

    test("does not change the delays of other handlers", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM)]);
      for (const claimed of await box.claim([CREATED, CRM])) await box.finish(claimed, retry(HOUR));
      await box.replay("msg_1", "again");
      expect((await box.claimOne([CREATED, CRM])).handler).toBe(CREATED);
    });

    test("a replay takes its event's place among the unfinished runs", async () => {
      await using box = await emptyBox(open);
      await box.accept("early", { at: at(1) });
      await box.claimAndFinish();
      await box.accept("middle", { at: at(2) });
      await box.claimAndFinish(retry(0));
      await box.accept("late", { at: at(3) });
      await box.replay("early", "again");
      for (const id of ["early", "middle", "late"]) {
        const claimed = await box.claimOne();
        expect(claimed).toMatchObject({ delivery: { id }, stale: false });
        await box.finish(claimed);
      }
    });

    test("a replay does not run beside another run of its order key", async () => {
      await using box = await emptyBox(open);
      await box.accept("early", { at: at(1) });
      await box.claimAndFinish();
      await box.accept("late", { at: at(2) });
      const running = await box.claimOne();
      await box.replay("early", "again");
      expect(await box.claim()).toEqual([]);
      await box.finish(running);
      // It is reported as stale. The dispatcher runs a replay by id even when it is stale.
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "early" }, stale: true, replay: "again" });
    });

    test("a replay does not make stale runs fresh", async () => {
      await using box = await emptyBox(open);
      for (const [id, second] of Object.entries({ early: 1, late: 3 })) {
        await box.accept(id, { at: at(second) });
        await box.claimAndFinish();
      }
      await box.replay("early", "again");
      await box.claimAndFinish();
      await box.accept("middle", { at: at(2) });
      expect((await box.claimOne()).stale).toBe(true);
    });
  });
}
