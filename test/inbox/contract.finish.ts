// Every inbox records the outcome of an attempt once, and its consequences for the next attempt.

import { describe, expect, test } from "bun:test";

import type { AttemptRecord } from "../../src/inbox/inbox.ts";
import {
  at,
  CREATED,
  dead,
  done,
  emptyBox,
  HOUR,
  ids,
  interrupted,
  type OpenInbox,
  postponed,
  record,
  released,
  retry,
  SECOND,
  skipped,
} from "./box.ts";

export function finishContract(name: string, open: OpenInbox): void {
  describe(`${name}: finishing an attempt`, () => {
    test("records the first outcome of an attempt, and a second one is superseded", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claimed = await box.claimOne();
      const answers = await Promise.all([box.finish(claimed, done), box.finish(claimed, dead)]);
      expect(answers.toSorted()).toEqual(["recorded", "superseded"]);
      expect(await box.finish(claimed, retry(0))).toBe("superseded");
      const state = answers[0] === "recorded" ? "done" : "dead";
      expect(await box.runOf("msg_1")).toMatchObject({ state, attempts: [{ outcome: state }] });
    });

    test("an attempt that has ended cannot finish the next one", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const first = await box.claimOne();
      await box.finish(first, retry(0));
      expect(await box.finish(first, done)).toBe("superseded");
      const second = await box.claimOne();
      expect(second.attempt).toBeGreaterThan(first.attempt);
      for (const outcome of [done, dead, skipped, released, retry(0), interrupted(0)])
        expect(await box.finish(first, outcome)).toBe("superseded");
      expect(await box.stateOf("msg_1")).toBe("running");
      expect(await box.finish(second)).toBe("recorded");
    });

    test("an outcome of a run that does not exist is superseded", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claimed = await box.claimOne();
      expect(await box.finish({ ...claimed, run: 4_711 })).toBe("superseded");
      expect(await box.finish(claimed)).toBe("recorded");
    });

    test("keeps every attempt with its error, log and times", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const failed: AttemptRecord = {
        startedAt: at(10),
        took: 1_234,
        error: {
          name: "TypeError",
          message: "no – 'such' \"thing\" \0 \ud800",
          stack: "TypeError: …\n    at x.ts:1:2",
        },
        log: [{ level: "warn", message: "λ" }],
      };
      await box.claimAndFinish({ kind: "retry", record: failed, delay: 0, exclusive: false });
      const bare: AttemptRecord = { startedAt: at(20), took: 0, error: { name: "Error", message: "" } };
      await box.claimAndFinish({ kind: "dead", record: bare, reason: "enough" });
      await box.reopen();
      expect((await box.runOf("msg_1")).attempts).toEqual([
        { ...failed, attempt: 1, outcome: "retry" },
        { ...bare, attempt: 2, outcome: "dead" },
      ]);
    });

    test("counts a failed attempt", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      for (const spent of [0, 1, 2]) {
        const claimed = await box.claimOne();
        expect(claimed).toMatchObject({ spent, interrupted: 0 });
        await box.finish(claimed, retry(0));
      }
    });

    test("a released attempt is not counted, and its run is due at once", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(0));
      const claimed = await box.claimOne();
      await box.finish(claimed, released);
      expect((await box.runOf("msg_1")).attempts).toHaveLength(1);
      const again = await box.claimOne();
      expect(again).toMatchObject({ spent: 1, interrupted: 0 });
      expect(again.attempt).toBeGreaterThan(claimed.attempt);
      expect(await box.finish(claimed)).toBe("superseded");
    });

    test("counts an interrupted attempt as spent and as interrupted", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(interrupted(0));
      await box.claimAndFinish(interrupted(5 * SECOND));
      expect(await box.claim()).toEqual([]);
      box.clocks.pass(5 * SECOND);
      expect(await box.claimOne()).toMatchObject({ spent: 2, interrupted: 2 });
      expect((await box.runOf("msg_1")).attempts).toMatchObject([
        { outcome: "interrupted" },
        { outcome: "interrupted" },
      ]);
    });

    test("appends a line to the log of an attempt that has ended", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claimed = await box.claimOne();
      await box.finish(claimed);
      await box.inbox.note(claimed, { level: "error", message: "late" });
      await box.inbox.note(claimed, { level: "info", message: "later" });
      const { attempts } = await box.runOf("msg_1");
      expect(attempts).toMatchObject([{ ...record, attempt: 1, outcome: "done" }]);
      expect(attempts[0]?.log).toEqual([
        { level: "error", message: "late" },
        { level: "info", message: "later" },
      ]);
    });
  });

  describe(`${name}: postponed attempts`, () => {
    test("a postponed attempt is recorded, not counted, and retried after its delay", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(0));
      await box.claimAndFinish(postponed(5 * SECOND));
      expect(await box.claim()).toEqual([]);
      expect(await box.runOf("msg_1")).toMatchObject({ state: "waiting", due: 5 * SECOND });
      box.clocks.pass(5 * SECOND);
      expect(await box.claimOne()).toMatchObject({ attempt: 3, spent: 1, interrupted: 0, exclusive: false });
      expect((await box.runOf("msg_1")).attempts).toMatchObject([
        { outcome: "retry" },
        { ...record, attempt: 2, outcome: "postponed" },
      ]);
    });

    test("a postponed exclusive run is still exclusive", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(interrupted(0, true));
      const claimExclusive = async () => (await box.claimWithin({ [CREATED]: 1 }, { exclusive: true })).runs;
      await box.finish((await claimExclusive())[0]!, postponed(0));
      expect(await claimExclusive()).toMatchObject([{ exclusive: true, interrupted: 1, spent: 1 }]);
    });

    test("an earlier event runs before a postponed run, and a later one waits", async () => {
      await using box = await emptyBox(open);
      await box.accept("middle", { at: at(2) });
      await box.claimAndFinish(postponed(HOUR));
      await box.accept("late", { at: at(3) });
      expect(await box.claim()).toEqual([]);
      await box.accept("early", { at: at(1) });
      expect(ids(await box.claim())).toEqual(["early"]);
    });
  });
}
