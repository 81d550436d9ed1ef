// Every inbox gives a run to one claimer, within its free slots, and claims exclusive runs only on request.

import { describe, expect, test } from "bun:test";

import type { NewDelivery } from "../../src/inbox/inbox.ts";
import {
  at,
  CREATED,
  CRM,
  DAY,
  delivery,
  emptyBox,
  HOUR,
  ids,
  interrupted,
  type OpenInbox,
  OWNER,
  released,
  retry,
  run,
  SECOND,
  UPDATED,
} from "./box.ts";

export function claimContract(name: string, open: OpenInbox): void {
  describe(`${name}: claiming runs`, () => {
    test("a claimed run contains everything that a handler needs", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { at: at(5), receivedAt: at(6) });
      const { run: id, ...claimed } = await box.claimOne();
      expect(id).toBeNumber();
      expect(claimed).toEqual({
        attempt: 1,
        owner: OWNER,
        handler: CREATED,
        orderKey: expect.any(String),
        spent: 0,
        interrupted: 0,
        exclusive: false,
        replay: "",
        stale: false,
        delivery: {
          id: "msg_1",
          arrival: (await box.list())[0]!.arrival,
          type: CREATED,
          subject: "user_1",
          receivedAt: at(6),
          receipts: 1,
          sample: false,
          at: at(5),
          sensitive: false,
        },
        body: delivery("msg_1").body,
      });
      expect(await box.stateOf("msg_1")).toBe("running");
    });

    test("claims a run once, also when several claimers ask at the same time", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      const claims = await Promise.all(
        ["owner-1", "owner-2", "owner-1"].map((owner) => box.claimWithin({ [CREATED]: 10 }, { owner })),
      );
      expect(claims.flatMap(({ runs }) => runs)).toHaveLength(1);
      expect(await box.claim()).toEqual([]);
    });

    test("claims at most as many runs of a handler as it has free slots, without affecting other handlers", async () => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 5; n += 1) {
        await box.accept(`created_${n}`, { subject: `user_${n}` });
        await box.accept(`crm_${n}`, { subject: `user_${n}` }, [run(CRM)]);
      }
      const { runs } = await box.claimWithin({ [CREATED]: 2, [CRM]: 4 });
      expect(ids(runs).toSorted()).toEqual(["created_0", "created_1", "crm_0", "crm_1", "crm_2", "crm_3"]);
      expect(await box.claim([CREATED])).toHaveLength(3);
    });

    test("leaves runs of handlers without slots waiting", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      expect(await box.claim([UPDATED])).toEqual([]);
      expect((await box.claimWithin({})).runs).toEqual([]);
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test("reports the time until the next run is due, and null when no run has a delay", async () => {
      await using box = await emptyBox(open);
      const claimNow = () => box.claimWithin({ [CREATED]: 10 });
      expect((await claimNow()).next).toBeNull();
      for (const [id, delay] of Object.entries({ slow: HOUR, quick: 20 * SECOND })) {
        await box.accept(id, { subject: id });
        await box.claimAndFinish(retry(delay));
      }
      expect((await claimNow()).next).toBe(20 * SECOND);
      box.clocks.pass(5 * SECOND);
      expect((await claimNow()).next).toBe(15 * SECOND);
      // The time of a run without slots does not count.
      expect((await box.claimWithin({ [UPDATED]: 10 })).next).toBeNull();
      expect(await box.runOf("quick")).toMatchObject({ state: "waiting", due: 15 * SECOND });

      box.clocks.pass(15 * SECOND - 1);
      expect(await box.claim()).toEqual([]);
      box.clocks.pass(1);
      const claim = await claimNow();
      expect(ids(claim.runs)).toEqual(["quick"]);
      expect(claim.next).toBe(HOUR - 20 * SECOND);
    });

    test("keeps a delay of months", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      await box.claimAndFinish(retry(300 * DAY));
      expect((await box.claimWithin({ [CREATED]: 1 })).next).toBe(300 * DAY);
      box.clocks.pass(300 * DAY);
      expect(await box.claim()).toHaveLength(1);
    });

    test("only runs of the same lane and subject share an order key", async () => {
      await using box = await emptyBox(open);
      const keys: Record<string, string> = {};
      const claimKey = async (id: string, overrides: Partial<NewDelivery> = {}, handler = CREATED) => {
        await box.accept(id, overrides, [run(handler)]);
        const claimed = await box.claimOne([handler]);
        keys[id] = claimed.orderKey;
        await box.finish(claimed);
      };
      await claimKey("created");
      await claimKey("updated", { type: UPDATED }, UPDATED);
      await claimKey("subject", { subject: "user_2" });
      await claimKey("lane", {}, CRM);
      await claimKey("sample", { sample: true });
      await claimKey("none", { subject: null });
      await claimKey("none again", { subject: null });
      expect(keys.updated).toBe(keys.created);
      expect(new Set(Object.values(keys)).size).toBe(6);
    });

    test("a claimed run reports whether its delivery contains a one-time code", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { sensitive: true });
      expect((await box.claimOne()).delivery.sensitive).toBe(true);
    });
  });

  describe(`${name}: exclusive runs`, () => {
    test("a run that must run exclusively is reported, and claimed only on request", async () => {
      await using box = await emptyBox(open);
      await box.accept("suspect");
      await box.claimAndFinish(interrupted(SECOND, true));
      await box.accept("other", { subject: "user_2" });
      const claimNow = (exclusive = false) => box.claimWithin({ [CREATED]: 10 }, { exclusive });
      expect(await box.claimWithin({})).toMatchObject({ exclusive: null });

      box.clocks.pass(SECOND);
      const beside = await claimNow();
      expect(ids(beside.runs)).toEqual(["other"]);
      expect(beside.exclusive).toBe(CREATED);

      const { runs, exclusive } = await claimNow(true);
      expect(runs).toMatchObject([{ delivery: { id: "suspect" }, exclusive: true, interrupted: 1 }]);
      expect(exclusive).toBeNull();
      expect((await claimNow()).exclusive).toBeNull();
    });

    test("claims exclusive runs one at a time, and no other run with them", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`suspect_${n}`, { subject: `user_${n}` });
      for (const claimed of await box.claim()) await box.finish(claimed, interrupted(0, true));
      await box.accept("other", { subject: "user_3" });
      const claimExclusive = async () => (await box.claimWithin({ [CREATED]: 10 }, { exclusive: true })).runs;
      expect(await claimExclusive()).toHaveLength(1);
      expect(await claimExclusive()).toHaveLength(1);
      expect(await claimExclusive()).toEqual([]);
      expect(ids(await box.claim())).toEqual(["other"]);
    });

    test("reports when an exclusive run is due", async () => {
      await using box = await emptyBox(open);
      await box.accept("suspect");
      await box.claimAndFinish(interrupted(20 * SECOND, true));
      expect((await box.claimWithin({ [CREATED]: 1 })).next).toBe(20 * SECOND);
    });

    test("a released exclusive run is still exclusive", async () => {
      await using box = await emptyBox(open);
      await box.accept("suspect");
      await box.claimAndFinish(interrupted(0, true));
      const { runs } = await box.claimWithin({ [CREATED]: 1 }, { exclusive: true });
      await box.finish(runs[0]!, released);
      expect(await box.claimWithin({ [CREATED]: 10 })).toMatchObject({ runs: [], exclusive: CREATED });
    });

    test("an exclusive run whose handler fails is no longer exclusive", async () => {
      await using box = await emptyBox(open);
      await box.accept("suspect");
      await box.claimAndFinish(interrupted(0, true));
      const { runs } = await box.claimWithin({ [CREATED]: 1 }, { exclusive: true });
      await box.finish(runs[0]!, retry(0, false));
      expect(await box.claimOne()).toMatchObject({ exclusive: false });
    });
  });
}
