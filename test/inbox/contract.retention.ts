// What every inbox has to do with what is old: what goes, when it goes, and what has to stay.

import { describe, expect, test } from "bun:test";

import type { NewRun, Outcome } from "../../src/inbox/inbox.ts";
import type { Prunable, Pruned } from "../../src/inbox/queries.ts";
import { at, CREATED, DAY, dead, delivery, done, emptyBox, type OpenInbox, retry, run, SECOND } from "./box.ts";

export function retentionContract(name: string, open: OpenInbox): void {
  const CRM = "user.created/crm";
  const START = at(0);

  /** An inbox with a way to let days go by: what it goes by is the receipt of the newest delivery. */
  async function agingBox() {
    const box = await emptyBox(open);
    let days = 0;
    const put = (id: string, subject: string | null = id, runs: NewRun[] = [run(CREATED)]) =>
      box.inbox.accept(delivery(id, { subject, at: START, receivedAt: START + days * DAY }), runs);
    return Object.assign(box, {
      put,
      async ended(id: string, outcome: Outcome = done) {
        await put(id);
        for (const ticket of await box.claim([CREATED])) await box.settle(ticket, outcome);
      },
      /** Another delivery arrives on that day. */
      async day(number: number) {
        days = number;
        await put(`day_${number}`, null, []);
      },
      /** Works off all that is due. */
      async prune(retentionDays = 90, limit = 100): Promise<Pruned & { batches: Prunable[] }> {
        const total = { payloads: 0, deliveries: 0, batches: [] as Prunable[] };
        for (let batch; (batch = await box.inbox.prunable(retentionDays, limit));) {
          total.batches.push(batch);
          const { payloads, deliveries } = await box.inbox.prune(batch);
          total.payloads += payloads;
          total.deliveries += deliveries;
          if (total.batches.length > 1_000) throw new Error("it never ends");
        }
        return total;
      },
      /** "whole", "bare" (without its payload), or "gone". */
      async left(id: string) {
        const found = await box.inbox.get(id);
        return found === null ? "gone" : found.body === null ? "bare" : "whole";
      },
    });
  }

  describe(`${name}: retention`, () => {
    test("payload and log go after the days that were set; the delivery is known for 95 days", async () => {
      await using box = await agingBox();
      await box.put("msg_1");
      const record = { startedAt: at(2), took: 3, log: [{ level: "info", message: "code 424242" } as const] };
      await box.settle(await box.claimOne(), { kind: "done", record });
      await box.day(6);
      expect(await box.inbox.prunable(7, 100)).toBeNull();
      await box.day(7);
      expect(await box.prune(7)).toMatchObject({ payloads: 1, deliveries: 0 });
      const view = await box.inbox.get("msg_1");
      expect(view).toMatchObject({ body: null, headers: null, runs: [{ state: "done", attempts: [{ took: 3 }] }] });
      expect(view?.runs[0]?.attempts[0]?.log).toBeUndefined();
      expect(await box.put("msg_1")).toEqual({ status: "duplicate", runs: [{ handler: CREATED, state: "done" }] });

      await box.day(94);
      await box.prune(7);
      expect(await box.left("msg_1")).toBe("bare");
      await box.day(95);
      const { batches } = await box.prune(7);
      expect(batches.flatMap(({ ledger }) => ledger)).toEqual([{ delivery: "msg_1", handler: CREATED, replay: "" }]);
      expect(await box.left("msg_1")).toBe("gone");
      expect(await box.put("msg_1")).toEqual({ status: "accepted" });
    });

    test("a retention of more than 95 days keeps the delivery as long", async () => {
      await using box = await agingBox();
      await box.ended("msg_1");
      await box.day(199);
      expect(await box.inbox.prunable(200, 100)).toBeNull();
      await box.day(200);
      await box.prune(200);
      expect(await box.left("msg_1")).toBe("gone");
    });

    test("what has a run to come stays whole, and goes when that has ended", async () => {
      await using box = await agingBox();
      await box.put("waits");
      await box.settle(await box.claimOne(), retry(SECOND));
      await box.put("parked", "parked", [run(CRM, { parked: true })]);
      await box.ended("over");
      box.clocks.pass(SECOND);
      const running = (await box.claim([CREATED]))[0]!;
      await box.day(120);
      await box.prune();
      expect(await Promise.all(["waits", "parked", "over"].map((id) => box.left(id)))).toEqual([
        "whole",
        "whole",
        "gone",
      ]);
      expect(await box.inbox.prunable(90, 100)).toBeNull();
      expect(await box.settle(running)).toBe("settled");
      await box.inbox.giveUp((await box.runOf("parked")).run, "enough");
      const { batches } = await box.prune();
      expect(batches.flatMap(({ ledger }) => ledger).map((key) => key.delivery)).toEqual(["waits", "parked"]);
      expect(await Promise.all(["waits", "parked"].map((id) => box.left(id)))).toEqual(["gone", "gone"]);
    });

    test("what ends between the ages of its payload and its id loses the payload then, and goes with the others", async () => {
      await using box = await agingBox();
      await box.put("msg_1");
      const running = await box.claimOne();
      await box.day(50);
      await box.prune(7);
      expect(await box.left("msg_1")).toBe("whole");
      await box.settle(running);
      await box.prune(7);
      expect(await box.left("msg_1")).toBe("bare");
      await box.day(95);
      await box.prune(7);
      expect(await box.left("msg_1")).toBe("gone");
    });

    test("a dead one keeps its payload until somebody has looked", async () => {
      await using box = await agingBox();
      for (const id of ["looked", "later", "never"]) await box.ended(id, dead);
      await box.inbox.looked("looked");
      await box.day(100);
      await box.prune();
      expect(await Promise.all(["looked", "later", "never"].map((id) => box.left(id)))).toEqual([
        "gone",
        "whole",
        "whole",
      ]);
      await box.inbox.looked("later");
      await box.prune();
      expect(await box.left("later")).toBe("gone");

      await box.day(359);
      await box.prune();
      expect(await box.left("never")).toBe("whole");
      await box.day(360);
      await box.prune();
      expect(await box.left("never")).toBe("gone");
    });

    test("one that was looked at and died once more waits for another look", async () => {
      await using box = await agingBox();
      await box.ended("msg_1", dead);
      await box.inbox.looked("msg_1");
      await box.inbox.replay("msg_1", "again", [run(CREATED)]);
      await box.settle(await box.claimOne(), dead);
      await box.day(100);
      await box.prune();
      expect(await box.left("msg_1")).toBe("whole");
    });

    test("a dead one that ran again and went well is like any other", async () => {
      await using box = await agingBox();
      for (const id of ["before", "after"]) await box.ended(id, dead);
      await box.inbox.replay("before", "again", [run(CREATED)]);
      await box.settle(await box.claimOne());
      await box.day(100);
      await box.prune();
      expect(await Promise.all(["before", "after"].map((id) => box.left(id)))).toEqual(["gone", "whole"]);
      await box.inbox.replay("after", "again", [run(CREATED)]);
      await box.prune();
      expect(await box.left("after")).toBe("whole");
      await box.settle(await box.claimOne());
      const { batches } = await box.prune();
      expect(batches.flatMap(({ ledger }) => ledger)).toEqual([
        { delivery: "after", handler: CREATED, replay: "" },
        { delivery: "after", handler: CREATED, replay: "again" },
      ]);
      expect(await box.left("after")).toBe("gone");
    });

    test("looking at what is not dead, or not there, changes nothing", async () => {
      await using box = await agingBox();
      await box.put("msg_1");
      await box.inbox.looked("msg_1");
      await box.inbox.looked("msg_2");
      await box.settle(await box.claimOne(), dead);
      await box.day(100);
      await box.prune();
      expect(await box.left("msg_1")).toBe("whole");
    });

    test("a run that comes between the two steps keeps its delivery", async () => {
      await using box = await agingBox();
      for (const id of ["replayed", "finished", "other"]) await box.ended(id);
      await box.day(100);
      const batch = await box.inbox.prunable(90, 100);
      for (const id of ["replayed", "finished"]) await box.inbox.replay(id, "again", [run(CREATED)]);
      for (const ticket of await box.claim([CREATED]))
        if (ticket.delivery.id === "finished") await box.settle(ticket);
        else await box.settle(ticket, retry(SECOND));
      await box.inbox.prune(batch!);
      expect(await Promise.all(["replayed", "finished", "other"].map((id) => box.left(id)))).toEqual([
        "whole",
        "whole",
        "gone",
      ]);
      // Its new run has a row in the ledger, which has to go first.
      const next = await box.inbox.prunable(90, 100);
      expect(next?.ledger.filter(({ delivery }) => delivery === "finished")).toHaveLength(2);
      await box.inbox.prune(next!);
      expect(await Promise.all(["replayed", "finished"].map((id) => box.left(id)))).toEqual(["whole", "gone"]);
      box.clocks.pass(SECOND);
      await box.settle(await box.claimOne());
      await box.prune();
      expect(await box.left("replayed")).toBe("gone");
    });

    test("a step that is repeated takes nothing more", async () => {
      await using box = await agingBox();
      for (const id of ["a", "b"]) await box.ended(id);
      await box.day(100);
      const batch = await box.inbox.prunable(90, 100);
      expect(await box.inbox.prune(batch!)).toMatchObject({ deliveries: 2 });
      expect(await box.inbox.prune(batch!)).toEqual({ payloads: 0, deliveries: 0 });
      expect(await box.left("day_100")).toBe("whole");
    });

    test("a clock that jumps deletes nothing: only what arrives lets others grow old", async () => {
      await using box = await agingBox();
      await box.ended("msg_1");
      box.clocks.jump(START + 4_000 * DAY);
      await box.reopen();
      expect(await box.inbox.prunable(90, 100)).toBeNull();
    });

    test("an event is stale as long as something of its subject is stored, and not afterwards", async () => {
      await using box = await agingBox();
      const accept = (id: string, seconds: number) =>
        box.inbox.accept(delivery(id, { at: at(seconds), receivedAt: START }), [run(CREATED)]);
      await accept("early", 1);
      await accept("late", 9);
      for (const _ of [1, 2]) await box.settle(await box.claimOne());
      await box.day(50);
      await box.put("kept", "user_1", []);
      await box.day(100);
      await box.prune();
      expect(await box.left("late")).toBe("gone");
      await accept("stale", 5);
      expect(await box.claimOne()).toMatchObject({ stale: true });
    });

    test("when nothing of a subject is stored its marks are gone, in every lane, and nobody else's", async () => {
      await using box = await agingBox();
      for (const subject of ["user_1", "user_2"]) {
        await box.inbox.accept(delivery(subject, { subject, at: at(9), receivedAt: START }), [run(CREATED), run(CRM)]);
        for (const ticket of await box.claim([CREATED, CRM])) await box.settle(ticket);
      }
      await box.day(50);
      await box.put("of user_2", "user_2", []);
      await box.day(100);
      await box.prune();
      for (const subject of ["user_1", "user_2"])
        await box.inbox.accept(delivery(`new ${subject}`, { subject, at: at(5) }), [run(CREATED), run(CRM)]);
      const tickets = await box.claim([CREATED, CRM]);
      expect(tickets).toHaveLength(4);
      for (const { delivery, stale } of tickets) expect(stale).toBe(delivery.subject === "user_2");
    });

    test("a huge backlog is worked off in small steps, past whatever has to stay", async () => {
      await using box = await agingBox();
      const states = ["done", "dead", "open", "none"] as const;
      const id = (n: number) => `${states[n % 4]}_${n}`;
      await Promise.all(
        Array.from({ length: 200 }, (_, n) => box.put(id(n), id(n), n % 4 === 3 ? [] : [run(CREATED)])),
      );
      for (const ticket of await box.claim([CREATED], 999)) {
        const state = ticket.delivery.id.split("_")[0];
        if (state !== "open") await box.settle(ticket, state === "dead" ? dead : done);
      }
      await box.day(92);
      const first = await box.prune(90, 7);
      expect(first).toMatchObject({ payloads: 100, deliveries: 0 });
      await box.day(100);
      const second = await box.prune(90, 7);
      expect(second).toMatchObject({ payloads: 0, deliveries: 100 });
      for (const { deliveries, payloads, again } of [...first.batches, ...second.batches])
        expect(Math.max(deliveries.length + payloads.length, again.length)).toBeLessThanOrEqual(7);
      const left = (await box.inbox.list({}, { before: null, limit: 999 })).deliveries.map((each) => each.id);
      expect(left.filter((each) => /^(dead|open)/.test(each))).toHaveLength(100);
      expect(left.filter((each) => /^(done|none)/.test(each))).toHaveLength(0);
    });

    test("what is pruned stays pruned after it was closed and opened again", async () => {
      await using box = await agingBox();
      for (const id of ["over", "unseen"]) await box.ended(id, id === "over" ? done : dead);
      await box.day(100);
      await box.prune();
      await box.reopen();
      expect(await box.inbox.prunable(90, 100)).toBeNull();
      expect(await Promise.all(["over", "unseen"].map((id) => box.left(id)))).toEqual(["gone", "whole"]);
      await box.inbox.looked("unseen");
      await box.reopen();
      await box.prune();
      expect(await box.left("unseen")).toBe("gone");
    });
  });
}
