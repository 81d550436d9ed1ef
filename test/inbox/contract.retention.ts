// Every inbox deletes old deliveries in small steps, and keeps those that are still needed.

import { describe, expect, test } from "bun:test";

import type { NewRun, Outcome } from "../../src/inbox/inbox.ts";
import type { RetentionStep } from "../../src/inbox/retention.ts";
import {
  at,
  CREATED,
  CRM,
  DAY,
  dead,
  delivery,
  done,
  emptyBox,
  HOUR,
  type OpenInbox,
  retry,
  run,
  SECOND,
} from "./box.ts";

export function retentionContract(name: string, open: OpenInbox): void {
  const START = at(0);

  /** An inbox whose days pass on its clock and in the receipts of deliveries. */
  async function agingBox() {
    const box = await emptyBox(open);
    let today = 0;
    const put = (id: string, subject: string | null = id, runs: NewRun[] = [run(CREATED)]) =>
      box.inbox.accept(delivery(id, { subject, at: START, receivedAt: START + today * DAY }), runs);
    return Object.assign(box, {
      put,
      async ended(id: string, outcome: Outcome = done) {
        await put(id);
        for (const claimed of await box.claim([CREATED])) await box.finish(claimed, outcome);
      },
      /** Moves the clocks to a day, on which another delivery arrives. */
      async day(day: number) {
        // A server does this all the time.
        await box.inbox.retention.next(36_500, 1);
        box.clocks.pass((day - today) * DAY);
        today = day;
        await put(`day_${day}`, null, []);
      },
      /** Deletes everything that has expired. */
      async deleteExpired(retentionDays = 90, limit = 100) {
        const total = { payloads: 0, deliveries: 0, steps: [] as RetentionStep[] };
        for (let step; (step = await box.inbox.retention.next(retentionDays, limit));) {
          total.steps.push(step);
          const { payloads, deliveries } = await box.inbox.retention.delete(step);
          total.payloads += payloads;
          total.deliveries += deliveries;
          if (total.steps.length > 1_000) throw new Error("retention never ends");
        }
        return total;
      },
      /** "complete", "wiped" (without its payload), or "deleted". */
      async stored(...ids: string[]) {
        const found = await Promise.all(ids.map((id) => box.inbox.get(id)));
        return found.map((view) => (view === null ? "deleted" : view.body === null ? "wiped" : "complete"));
      },
    });
  }

  describe(`${name}: retention`, () => {
    test("deletes payload and log after the configured days, and the delivery after 95 days", async () => {
      await using box = await agingBox();
      await box.put("msg_1");
      const record = { startedAt: at(2), took: 3, log: [{ level: "info", message: "code 424242" } as const] };
      await box.claimAndFinish({ kind: "done", record });
      await box.day(6);
      expect(await box.inbox.retention.next(7, 100)).toBeNull();
      await box.day(7);
      expect(await box.deleteExpired(7)).toMatchObject({ payloads: 1, deliveries: 0 });
      const view = await box.inbox.get("msg_1");
      expect(view).toMatchObject({ body: null, headers: null, runs: [{ state: "done", attempts: [{ took: 3 }] }] });
      expect(view?.runs[0]?.attempts[0]?.log).toBeUndefined();
      expect(await box.put("msg_1")).toEqual({ status: "duplicate", runs: [{ handler: CREATED, state: "done" }] });

      await box.day(94);
      await box.deleteExpired(7);
      expect(await box.stored("msg_1")).toEqual(["wiped"]);
      await box.day(95);
      const { steps } = await box.deleteExpired(7);
      expect(steps.flatMap(({ ledger }) => ledger)).toEqual([{ delivery: "msg_1", handler: CREATED, replay: "" }]);
      expect(await box.stored("msg_1")).toEqual(["deleted"]);
      expect(await box.put("msg_1")).toEqual({ status: "accepted" });
    });

    test("a retention of more than 95 days also applies to the delivery", async () => {
      await using box = await agingBox();
      await box.ended("msg_1");
      await box.day(199);
      expect(await box.inbox.retention.next(200, 100)).toBeNull();
      await box.day(200);
      await box.deleteExpired(200);
      expect(await box.stored("msg_1")).toEqual(["deleted"]);
    });

    test("keeps a delivery with an unfinished run complete, and deletes it when the run has ended", async () => {
      await using box = await agingBox();
      await box.put("waits");
      await box.claimAndFinish(retry(SECOND));
      await box.put("parked", "parked", [run(CRM, { parked: true })]);
      await box.ended("over");
      box.clocks.pass(SECOND);
      const running = (await box.claim([CREATED]))[0]!;
      await box.day(120);
      await box.deleteExpired();
      expect(await box.stored("waits", "parked", "over")).toEqual(["complete", "complete", "deleted"]);
      expect(await box.inbox.retention.next(90, 100)).toBeNull();
      expect(await box.finish(running)).toBe("recorded");
      await box.inbox.giveUp((await box.runOf("parked")).run, "enough");
      const { steps } = await box.deleteExpired();
      expect(steps.flatMap(({ ledger }) => ledger).map((key) => key.delivery)).toEqual(["waits", "parked"]);
      expect(await box.stored("waits", "parked")).toEqual(["deleted", "deleted"]);
    });

    test("deletes the payload of a run that ends late at its end, and the delivery at the usual time", async () => {
      await using box = await agingBox();
      await box.put("msg_1");
      const running = await box.claimOne();
      await box.day(50);
      await box.deleteExpired(7);
      expect(await box.stored("msg_1")).toEqual(["complete"]);
      await box.finish(running);
      await box.deleteExpired(7);
      expect(await box.stored("msg_1")).toEqual(["wiped"]);
      await box.day(95);
      await box.deleteExpired(7);
      expect(await box.stored("msg_1")).toEqual(["deleted"]);
    });

    test("keeps the payload of a dead delivery four times as long, and its delivery as long as the payload", async () => {
      await using box = await agingBox();
      await box.ended("dead", dead);
      await box.ended("done");
      await box.day(100);
      await box.deleteExpired();
      expect(await box.stored("dead", "done")).toEqual(["complete", "deleted"]);
      await box.day(359);
      await box.deleteExpired();
      expect(await box.stored("dead")).toEqual(["complete"]);
      await box.day(360);
      await box.deleteExpired();
      expect(await box.stored("dead")).toEqual(["deleted"]);
    });

    test("deletes the payload of a dead delivery before the delivery when four times the days are less than 95", async () => {
      await using box = await agingBox();
      await box.ended("dead", dead);
      await box.day(27);
      await box.deleteExpired(7);
      expect(await box.stored("dead")).toEqual(["complete"]);
      await box.day(28);
      await box.deleteExpired(7);
      expect(await box.stored("dead")).toEqual(["wiped"]);
      await box.day(95);
      await box.deleteExpired(7);
      expect(await box.stored("dead")).toEqual(["deleted"]);
    });

    test("keeps the payload as long when a replay of it dies, too", async () => {
      await using box = await agingBox();
      await box.ended("msg_1", dead);
      await box.replay("msg_1", "again");
      await box.claimAndFinish(dead);
      await box.day(100);
      await box.deleteExpired();
      expect(await box.stored("msg_1")).toEqual(["complete"]);
    });

    test("a dead run that was replayed successfully is deleted like a done one", async () => {
      await using box = await agingBox();
      for (const id of ["before", "after"]) await box.ended(id, dead);
      await box.replay("before", "again");
      await box.claimAndFinish();
      await box.day(100);
      await box.deleteExpired();
      expect(await box.stored("before", "after")).toEqual(["deleted", "complete"]);
      // Retention checks a dead delivery again after four times the days, whatever its state is by then.
      await box.replay("after", "again");
      await box.claimAndFinish();
      await box.deleteExpired();
      expect(await box.stored("after")).toEqual(["complete"]);
      await box.day(4 * 90);
      const { steps } = await box.deleteExpired();
      expect(steps.flatMap(({ ledger }) => ledger)).toEqual([
        { delivery: "after", handler: CREATED, replay: "" },
        { delivery: "after", handler: CREATED, replay: "again" },
      ]);
      expect(await box.stored("after")).toEqual(["deleted"]);
    });

    test("a run that is added between the two parts of a step keeps its delivery", async () => {
      await using box = await agingBox();
      for (const id of ["replayed", "finished", "other"]) await box.ended(id);
      await box.day(100);
      const step = await box.inbox.retention.next(90, 100);
      for (const id of ["replayed", "finished"]) await box.replay(id, "again");
      for (const claimed of await box.claim([CREATED]))
        if (claimed.delivery.id === "finished") await box.finish(claimed);
        else await box.finish(claimed, retry(SECOND));
      await box.inbox.retention.delete(step!);
      expect(await box.stored("replayed", "finished", "other")).toEqual(["complete", "complete", "deleted"]);
      // Its new run has a row in the ledger, which must be deleted first.
      const next = await box.inbox.retention.next(90, 100);
      expect(next?.ledger.filter(({ delivery }) => delivery === "finished")).toHaveLength(2);
      await box.inbox.retention.delete(next!);
      expect(await box.stored("replayed", "finished")).toEqual(["complete", "deleted"]);
      box.clocks.pass(SECOND);
      await box.claimAndFinish();
      await box.deleteExpired();
      expect(await box.stored("replayed")).toEqual(["deleted"]);
    });

    test("a repeated step deletes nothing more", async () => {
      await using box = await agingBox();
      for (const id of ["a", "b"]) await box.ended(id);
      await box.day(100);
      const step = await box.inbox.retention.next(90, 100);
      expect(await box.inbox.retention.delete(step!)).toMatchObject({ deliveries: 2 });
      expect(await box.inbox.retention.delete(step!)).toEqual({ payloads: 0, deliveries: 0 });
      expect(await box.stored("day_100")).toEqual(["complete"]);
    });

    test("a clock that is 400 days ahead for an hour deletes nothing, neither then nor once it is right", async () => {
      await using box = await agingBox();
      for (const id of ["first", "second"]) await box.ended(id);
      await box.day(80);
      await box.deleteExpired();
      await box.ended("third");
      const wrong = START + 480 * DAY;
      box.clocks.jump(wrong);
      await box.inbox.accept(delivery("wrong", { subject: null, at: START, receivedAt: wrong }), []);
      expect((await box.deleteExpired()).steps).toEqual([]);
      await box.reopen();
      for (let round = 0; round < 6; round += 1) {
        box.clocks.pass(HOUR / 6);
        expect((await box.deleteExpired()).steps).toEqual([]);
      }
      box.clocks.jump(START + 80 * DAY + HOUR);
      await box.reopen();
      // The clock of this inbox never goes back. Only time that has really passed is trusted.
      await box.put("right", null, []);
      await box.deleteExpired();
      expect(await box.stored("first", "second", "third", "wrong")).toEqual([
        "complete",
        "complete",
        "complete",
        "complete",
      ]);
      expect((await box.inbox.get("wrong"))?.receivedAt).toBeLessThan(START + 81 * DAY);
      await box.day(95);
      await box.deleteExpired();
      expect(await box.stored("first", "second", "third", "wrong")).toEqual([
        "deleted",
        "deleted",
        "complete",
        "complete",
      ]);
      await box.day(176);
      await box.deleteExpired();
      expect(await box.stored("third", "wrong")).toEqual(["deleted", "deleted"]);
    });

    test("restarts do not accelerate the trusted time, and a server that was down for long catches up", async () => {
      await using box = await agingBox();
      await box.ended("msg_1");
      await box.day(0);
      box.clocks.pass(100 * DAY);
      await box.reopen();
      await box.inbox.accept(delivery("after", { subject: null, at: START, receivedAt: START + 100 * DAY }), []);
      for (let start = 0; start < 50; start += 1) {
        expect((await box.deleteExpired()).steps).toEqual([]);
        await box.reopen();
      }
      for (let days = 0; days < 25; days += 1) {
        box.clocks.pass(DAY);
        await box.deleteExpired();
        expect([days, await box.stored("msg_1")]).toEqual([
          days,
          [days < 22 ? "complete" : days < 23 ? "wiped" : "deleted"],
        ]);
      }
    });

    test("a clock that is years behind deletes nothing and delays nothing", async () => {
      await using box = await agingBox();
      await box.ended("msg_1");
      await box.day(29);
      expect((await box.deleteExpired(30)).steps).toEqual([]);
      box.clocks.pass(HOUR);
      await box.inbox.accept(delivery("behind", { subject: null, at: START, receivedAt: 1_000 }), []);
      expect((await box.deleteExpired(30)).steps).toEqual([]);
      await box.day(31);
      await box.deleteExpired(30);
      expect(await box.stored("msg_1")).toEqual(["wiped"]);
    });

    test("a wall clock that jumps deletes nothing", async () => {
      await using box = await agingBox();
      await box.ended("msg_1");
      box.clocks.jump(START + 4_000 * DAY);
      await box.reopen();
      expect(await box.inbox.retention.next(90, 100)).toBeNull();
    });

    test("an event is stale as long as a delivery of its subject is stored", async () => {
      await using box = await agingBox();
      const accept = (id: string, seconds: number) =>
        box.inbox.accept(delivery(id, { at: at(seconds), receivedAt: START }), [run(CREATED)]);
      await accept("early", 1);
      await accept("late", 9);
      for (const _ of [1, 2]) await box.claimAndFinish();
      await box.day(50);
      await box.put("kept", "user_1", []);
      await box.day(100);
      await box.deleteExpired();
      expect(await box.stored("late")).toEqual(["deleted"]);
      await accept("stale", 5);
      expect(await box.claimOne()).toMatchObject({ stale: true });
    });

    test("once all deliveries of a subject are deleted, its events are not stale in any lane, unlike those of others", async () => {
      await using box = await agingBox();
      for (const subject of ["user_1", "user_2"]) {
        await box.inbox.accept(delivery(subject, { subject, at: at(9), receivedAt: START }), [run(CREATED), run(CRM)]);
        for (const claimed of await box.claim([CREATED, CRM])) await box.finish(claimed);
      }
      await box.day(50);
      await box.put("of user_2", "user_2", []);
      await box.day(100);
      await box.deleteExpired();
      for (const subject of ["user_1", "user_2"])
        await box.inbox.accept(delivery(`new ${subject}`, { subject, at: at(5) }), [run(CREATED), run(CRM)]);
      const runs = await box.claim([CREATED, CRM]);
      expect(runs).toHaveLength(4);
      for (const { delivery, stale } of runs) expect(stale).toBe(delivery.subject === "user_2");
    });

    test("events are not stale in any lane when the last delivery of their subject had no run, or one in another lane", async () => {
      await using box = await agingBox();
      for (const subject of ["user_1", "user_2", "user_3"]) {
        await box.inbox.accept(delivery(subject, { subject, at: at(9), receivedAt: START }), [run(CREATED), run(CRM)]);
        for (const claimed of await box.claim([CREATED, CRM])) await box.finish(claimed);
      }
      await box.day(50);
      await box.put("unhandled", "user_1", []);
      await box.put("elsewhere", "user_2");
      await box.claimAndFinish();
      await box.day(100);
      await box.deleteExpired();
      expect(await box.stored("user_1", "unhandled", "elsewhere")).toEqual(["deleted", "complete", "complete"]);
      await box.put("of user_3", "user_3", []);
      await box.day(150);
      await box.deleteExpired();
      expect(await box.stored("unhandled", "elsewhere", "of user_3")).toEqual(["deleted", "deleted", "complete"]);
      for (const subject of ["user_1", "user_2"])
        await box.inbox.accept(delivery(`new ${subject}`, { subject, at: at(5) }), [run(CREATED), run(CRM)]);
      expect((await box.claim([CREATED, CRM])).map(({ stale }) => stale)).toEqual([false, false, false, false]);
    });

    test("deletes a large backlog in small steps, and passes over deliveries that must be kept", async () => {
      await using box = await agingBox();
      const states = ["done", "dead", "open", "none"] as const;
      const id = (n: number) => `${states[n % 4]}_${n}`;
      await Promise.all(
        Array.from({ length: 200 }, (_, n) => box.put(id(n), id(n), n % 4 === 3 ? [] : [run(CREATED)])),
      );
      for (const claimed of await box.claim([CREATED], 999)) {
        const state = claimed.delivery.id.split("_")[0];
        if (state !== "open") await box.finish(claimed, state === "dead" ? dead : done);
      }
      await box.day(92);
      const first = await box.deleteExpired(90, 7);
      expect(first).toMatchObject({ payloads: 100, deliveries: 0 });
      await box.day(100);
      const second = await box.deleteExpired(90, 7);
      expect(second).toMatchObject({ payloads: 0, deliveries: 100 });
      for (const { arrivals } of [...first.steps, ...second.steps]) expect(arrivals.length).toBeLessThanOrEqual(7);
      const remaining = (await box.list()).map(({ id }) => id);
      expect(remaining.filter((name) => /^(dead|open)/.test(name))).toHaveLength(100);
      expect(remaining.filter((name) => /^(done|none)/.test(name))).toHaveLength(0);
    });

    test("deletions persist when the inbox is closed and opened again", async () => {
      await using box = await agingBox();
      for (const id of ["over", "failed"]) await box.ended(id, id === "over" ? done : dead);
      await box.day(100);
      await box.deleteExpired();
      await box.reopen();
      expect(await box.inbox.retention.next(90, 100)).toBeNull();
      expect(await box.stored("over", "failed")).toEqual(["deleted", "complete"]);
      await box.day(360);
      await box.deleteExpired();
      await box.reopen();
      expect(await box.stored("failed")).toEqual(["deleted"]);
    });
  });
}
