// Every inbox groups failures by their problem, counts them, and resolves a problem when its runs are done.

import { describe, expect, test } from "bun:test";

import type { Outcome } from "../../src/inbox/inbox.ts";
import {
  type Box, CREATED, CRM, DAY, emptyBox, HOUR, ids, knownHandler, type OpenInbox, OWNER, problemKey, record, replayAll,
  replayOf, run, SECOND,
} from "./box.ts"; // prettier-ignore

const failed = (name: string, delay = 0): Outcome => {
  return { kind: "retry", record, delay, exclusive: false, problem: problemKey(name) };
};
const died = (name: string): Outcome => ({ kind: "dead", record, reason: "enough", problem: problemKey(name) });

const OTHERS = ["owner-2", "owner-3"];
const ALIVE = async (): Promise<Set<string> | undefined> => new Set([OWNER, ...OTHERS]);

/** Accepts deliveries of different subjects and ends the first attempt of each. */
async function fail(box: Box, names: readonly string[], outcome: Outcome) {
  for (const name of names) await box.accept(name, { subject: `subject of ${name}` });
  for (const claimed of await box.claim()) await box.finish(claimed, outcome);
}

async function problem(box: Box, name: string) {
  const found = await box.inbox.problems.get(`p_${name}`);
  if (!found) throw new Error(`there is no problem ${name}`);
  return found;
}

const replayOfProblem = (box: Box, name: string, replay: string) =>
  replayAll(box.inbox, {
    filter: { problem: `p_${name}`, state: "dead" },
    handlers: [knownHandler(CREATED), knownHandler(CRM)],
    stale: false,
    bulk: true,
    replay,
    limit: 100,
  });

export function problemsContract(name: string, open: OpenInbox): void {
  describe(`${name}: problems`, () => {
    test("groups failures and counts them, their runs and their subjects", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1", "msg_2"], died("a"));
      await fail(box, ["msg_3"], failed("a", HOUR));
      await fail(box, ["msg_4"], failed("b", HOUR));
      await box.reopen();
      const { id, ...key } = problemKey("a");
      expect(await problem(box, "a")).toEqual({
        ...key,
        id,
        handler: CREATED,
        state: "open",
        muted: false,
        failures: 3,
        runs: { dead: 2, retrying: 1, done: 0, skipped: 0 },
        subjects: 3,
        more: false,
        firstAt: record.startedAt + record.took,
        lastAt: record.startedAt + record.took,
        resolvedAt: null,
        regressedAt: null,
        newest: "msg_3",
        days: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0],
      });
      expect((await box.inbox.problems.list("open", 9)).map((found) => found.id).toSorted()).toEqual(["p_a", "p_b"]);
      expect(await box.inbox.problems.list("open", 1)).toHaveLength(1);
      expect(await box.inbox.problems.get("p_c")).toBeNull();
    });

    test("counts failures of one commit together", async () => {
      await using box = await emptyBox(open);
      const names = Array.from({ length: 12 }, (_, n) => `msg_${n}`);
      for (const id of names) await box.accept(id, { subject: id });
      const claimed = await box.claim([CREATED], 20);
      await Promise.all(claimed.map((run, index) => box.finish(run, index % 2 ? died("a") : died("b"))));
      expect(await problem(box, "a")).toMatchObject({ failures: 6, runs: { dead: 6 } });
      expect(await problem(box, "b")).toMatchObject({ failures: 6, runs: { dead: 6 } });
    });

    test("a run that succeeds has no problem, and an outcome without one leaves the problem of the run", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], failed("a"));
      await box.claimAndFinish({ kind: "postponed", record, delay: 0 });
      expect(await box.runOf("msg_1")).toMatchObject({ state: "waiting", problem: "p_a" });
      await box.claimAndFinish();
      expect(await problem(box, "a")).toMatchObject({ failures: 1, state: "resolved", runs: { done: 1, retrying: 0 } });
      await box.accept("msg_2");
      await box.claimAndFinish();
      expect(await box.runOf("msg_2")).toMatchObject({ state: "done", problem: null });
    });

    test("a repeated or late end counts no failure", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claimed = await box.claimOne();
      await box.finish(claimed, failed("a"));
      expect(await box.finish(claimed, failed("a"))).toBe("superseded");
      expect(await box.finish(claimed, died("b"))).toBe("superseded");
      expect(await problem(box, "a")).toMatchObject({ failures: 1 });
      expect(await box.inbox.problems.get("p_b")).toBeNull();
    });

    test("a run belongs to the problem of its latest failure", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], failed("a"));
      await box.claimAndFinish(died("b"));
      expect(await problem(box, "a")).toMatchObject({ failures: 1, state: "resolved", runs: { dead: 0, retrying: 0 } });
      expect(await problem(box, "b")).toMatchObject({ failures: 1, state: "open", runs: { dead: 1 } });
    });

    test("a replay takes the problem over from the dead run, and resolves it when it is done", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1", "msg_2"], died("a"));
      await box.replay("msg_1", "again");
      expect(await problem(box, "a")).toMatchObject({ state: "open", runs: { dead: 1, retrying: 1, done: 0 } });
      await box.claimAndFinish();
      expect(await problem(box, "a")).toMatchObject({ runs: { dead: 1, retrying: 0, done: 1 } });
      expect((await replayOfProblem(box, "a", "bulk")).added).toBe(1);
      await box.claimAndFinish();
      expect(await problem(box, "a")).toMatchObject({ state: "resolved", runs: { dead: 0, done: 2 }, subjects: 0 });
    });

    test("replays exactly the dead runs of a problem, in the handlers that failed", async () => {
      await using box = await emptyBox(open);
      for (const id of ["msg_1", "msg_2", "msg_3"]) await box.accept(id, { subject: id }, [run(CREATED), run(CRM)]);
      for (const claimed of await box.claim([CREATED, CRM])) {
        const { handler, delivery } = claimed;
        if (handler === CREATED) await box.finish(claimed, delivery.id === "msg_3" ? failed("a", HOUR) : died("a"));
        else await box.finish(claimed, delivery.id === "msg_2" ? died("b") : { kind: "done", record });
      }
      const { added } = await replayOfProblem(box, "a", "again");
      expect(added).toBe(2);
      const claimed = await box.claim([CREATED, CRM]);
      expect(claimed.map(({ delivery, handler }) => `${delivery.id} ${handler}`).toSorted()).toEqual([
        `msg_1 ${CREATED}`,
        `msg_2 ${CREATED}`,
      ]);
      expect(await problem(box, "b")).toMatchObject({ runs: { dead: 1 } });
      expect((await replayOfProblem(box, "a", "once more")).added).toBe(0);
    });

    test("an earlier run that fails after a replay was added does not open the problem", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], failed("a"));
      const earlier = await box.claimOne();
      await box.replay("msg_1", "again");
      expect(await problem(box, "a")).toMatchObject({ runs: { dead: 0, retrying: 1 } });
      await box.finish(earlier, died("a"));
      expect(await problem(box, "a")).toMatchObject({ failures: 2, runs: { dead: 0, retrying: 1 } });
      await box.claimAndFinish();
      expect(await problem(box, "a")).toMatchObject({ state: "resolved" });
    });

    test("a problem is resolved when its runs are done, and regressed when it fails again", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], failed("a"));
      await box.inbox.sweep();
      expect(await problem(box, "a")).toMatchObject({ state: "open", resolvedAt: null });
      await box.claimAndFinish();
      await box.inbox.sweep();
      const resolved = await problem(box, "a");
      expect(resolved.resolvedAt).toBeNumber();
      expect(await box.inbox.problems.list("open", 9)).toEqual([]);
      expect(await box.inbox.problems.list("resolved", 9)).toEqual([resolved]);
      await fail(box, ["msg_2"], died("a"));
      expect(await problem(box, "a")).toMatchObject({
        state: "open",
        resolvedAt: null,
        regressedAt: record.startedAt + record.took,
        failures: 2,
      });
    });

    test("selects deliveries by problem and state, in pages", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1", "msg_2"], died("a"));
      await fail(box, ["msg_3"], failed("a", HOUR));
      await fail(box, ["msg_4"], died("b"));
      await box.accept("msg_5", { subject: "another" });
      const list = async (filter: object) => (await box.list(filter)).map(({ id }) => id);
      expect(await list({ problem: "p_a" })).toEqual(["msg_3", "msg_2", "msg_1"]);
      expect(await list({ problem: "p_a", state: "dead" })).toEqual(["msg_2", "msg_1"]);
      expect(await list({ problem: "p_a", state: "retrying" })).toEqual(["msg_3"]);
      expect(await list({ problem: "p_a", subject: "subject of msg_4" })).toEqual([]);
      expect(await list({ problem: "p_a", handler: CRM })).toEqual([]);
      expect(await list({ problem: "p_c" })).toEqual([]);
      const first = await box.inbox.list({ problem: "p_a" }, { before: null, limit: 1 });
      const second = await box.inbox.list({ problem: "p_a" }, { before: first.next, limit: 1 });
      expect([...first.deliveries, ...second.deliveries].map(({ id }) => id)).toEqual(["msg_3", "msg_2"]);
    });

    test("takes each change of a problem once", async () => {
      await using box = await emptyBox(open);
      const take = async (owner = OWNER, alive = ALIVE) =>
        (await box.inbox.problems.takeNews(owner, alive)).map((news) => ({
          id: news.problem.id,
          changes: news.changes,
        }));
      expect(await take()).toEqual([]);
      await fail(box, ["msg_1"], failed("a", HOUR));
      await fail(box, ["msg_2"], died("b"));
      const [first, second] = await Promise.all([take(), take(OTHERS[0])]);
      expect([...first, ...second].toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual([
        { id: "p_a", changes: ["new"] },
        { id: "p_b", changes: ["new", "dead"] },
      ]);
      // Only another server takes over, and only when their owner is not alive any longer.
      expect(await take(OTHERS[1])).toEqual([]);
      expect(await take(OTHERS[1], async () => undefined)).toEqual([]);
      expect(await take(OTHERS[1], async () => new Set(["owner-3"]))).toHaveLength(2);
    });

    test("reports the same change once an hour, and 10 and 100 times when they are reached", async () => {
      await using box = await emptyBox(open);
      const report = async () => {
        const news = await box.inbox.problems.takeNews(OWNER, ALIVE);
        await box.inbox.problems.newsReported(OWNER, news);
        return news.map(({ changes }) => changes);
      };
      await fail(box, ["msg_1"], died("a"));
      expect(await report()).toEqual([["new", "dead"]]);
      await fail(box, ["msg_2"], died("a"));
      expect(await report()).toEqual([]);
      await fail(
        box,
        Array.from({ length: 8 }, (_, n) => `ten_${n}`),
        failed("a", 2 * HOUR),
      );
      expect(await report()).toEqual([["10 times"]]);
      box.clocks.pass(HOUR + SECOND);
      expect(await report()).toEqual([["dead"]]);
      expect(await report()).toEqual([]);
    });

    test("a regressed problem is counted from the beginning", async () => {
      await using box = await emptyBox(open);
      await fail(
        box,
        Array.from({ length: 10 }, (_, n) => `msg_${n}`),
        failed("a"),
      );
      const first = await box.inbox.problems.takeNews(OWNER, ALIVE);
      expect(first.map(({ changes }) => changes)).toEqual([["new", "10 times"]]);
      await box.inbox.problems.newsReported(OWNER, first);
      for (const claimed of await box.claim()) await box.finish(claimed);
      await box.inbox.sweep();
      box.clocks.pass(2 * HOUR);
      await fail(box, ["again"], failed("a", HOUR));
      const second = await box.inbox.problems.takeNews(OWNER, ALIVE);
      expect(second.map(({ changes }) => changes)).toEqual([["regressed"]]);
    });

    test("drops news of more than a week ago, as of a time before alerts were set up", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], died("a"));
      box.clocks.pass(8 * DAY);
      expect(await box.inbox.problems.takeNews(OWNER, ALIVE)).toEqual([]);
      expect(await problem(box, "a")).toMatchObject({ state: "open" });
    });

    test("a muted problem is counted, listed apart and not reported", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], died("a"));
      expect(await box.inbox.problems.mute("p_a", true)).toBe(true);
      expect(await box.inbox.problems.mute("p_b", true)).toBe(false);
      expect(await box.inbox.problems.takeNews(OWNER, ALIVE)).toEqual([]);
      await fail(box, ["msg_2"], died("a"));
      expect(await box.inbox.problems.list("open", 9)).toEqual([]);
      expect(await box.inbox.problems.list("muted", 9)).toMatchObject([{ muted: true, state: "open", failures: 2 }]);
      await box.inbox.problems.mute("p_a", false);
      expect(await box.inbox.problems.list("open", 9)).toHaveLength(1);
    });

    test("forgets problems that were resolved long ago, and no open one", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1"], failed("a"));
      await box.claimAndFinish();
      await box.inbox.sweep();
      await fail(box, ["msg_2"], died("b"));
      await box.inbox.problems.forget(1);
      expect(await box.inbox.problems.get("p_a")).not.toBeNull();
      const later = box.clocks.wallClock() + 9 * DAY;
      await box.accept("msg_3", { receivedAt: later, subject: "later" });
      // The trusted time follows the newest receipt, at a limited pace.
      for (let day = 0; day < 12; day += 1) {
        await box.inbox.retention.next(90, 1);
        box.clocks.pass(DAY);
      }
      await box.inbox.problems.forget(3);
      expect(await box.inbox.problems.get("p_a")).toBeNull();
      expect(await box.inbox.problems.get("p_b")).toMatchObject({ days: expect.any(Array), runs: { dead: 1 } });
    });

    test("a skipped run and one that is given up leave the counts right", async () => {
      await using box = await emptyBox(open);
      await fail(box, ["msg_1", "msg_2"], failed("a", HOUR));
      await box.inbox.giveUp((await box.runOf("msg_1")).run, "by hand");
      expect(await problem(box, "a")).toMatchObject({ runs: { dead: 1, retrying: 1 } });
      await box.inbox.park(new Set());
      box.clocks.pass(DAY + HOUR);
      await box.inbox.sweep();
      expect(await problem(box, "a")).toMatchObject({ runs: { dead: 1, retrying: 0, skipped: 1 } });
      expect(ids(await box.claim())).toEqual([]);
      expect((await box.inbox.replay(replayOf("msg_1", "again", [knownHandler(CREATED)]))).added).toBe(1);
    });
  });
}
