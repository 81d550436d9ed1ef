// Every inbox remembers paused handlers. A pause changes no run, and a run that has to run exclusively waits as well.

import { describe, expect, test } from "bun:test";

import { at, CREATED, CRM, emptyBox, ids, interrupted, type OpenInbox, run, SECOND, UPDATED } from "./box.ts";

export function pauseContract(name: string, open: OpenInbox): void {
  describe(`${name}: pauses`, () => {
    test("a pause is kept when the inbox is opened again, until it is resumed", async () => {
      await using box = await emptyBox(open);
      expect(await box.inbox.pauses.pause(CRM, "person", "the CRM migrates", null)).toBe(true);
      box.clocks.pass(5 * SECOND);
      await box.reopen();
      const [found, ...others] = await box.inbox.pauses.list();
      expect(others).toEqual([]);
      expect(found).toMatchObject({ handler: CRM, cause: "person", reason: "the CRM migrates", nextProbe: null });
      expect(found!.pausedFor).toBeWithin(5 * SECOND, 60 * SECOND);
      expect(await box.inbox.pauses.resume(CRM)).toBe(true);
      expect(await box.inbox.pauses.resume(CRM)).toBe(false);
      expect(await box.inbox.pauses.list()).toEqual([]);
    });

    test("a person's pause replaces the breaker's, and not the other way round", async () => {
      await using box = await emptyBox(open);
      expect(await box.inbox.pauses.pause(CRM, "breaker", "10 runs failed", 1_000)).toBe(true);
      expect(await box.inbox.pauses.pause(CRM, "breaker", "20 runs failed", 1_000)).toBe(false);
      expect(await box.inbox.pauses.pause(CRM, "person", null, null)).toBe(true);
      expect(await box.inbox.pauses.pause(CRM, "breaker", "30 runs failed", 1_000)).toBe(false);
      expect(await box.inbox.pauses.pause(CRM, "person", "again", null)).toBe(false);
      expect(await box.inbox.pauses.resume(CRM, "breaker")).toBe(false);
      expect(await box.inbox.pauses.list()).toMatchObject([{ cause: "person", reason: null, nextProbe: null }]);
      expect(await box.inbox.pauses.resume(CRM, "person")).toBe(true);
    });

    test("a probe is taken once for each time, and never of a person's pause", async () => {
      await using box = await emptyBox(open);
      await box.inbox.pauses.pause(CRM, "breaker", null, 10 * SECOND);
      await box.inbox.pauses.pause(CREATED, "person", null, null);
      const take = () => Promise.all([1, 2].map(() => box.inbox.pauses.takeProbe(CRM, 30 * SECOND)));
      expect(await take()).toEqual([false, false]);
      box.clocks.pass(10 * SECOND);
      expect((await take()).filter(Boolean)).toEqual([true]);
      box.clocks.pass(20 * SECOND);
      expect(await take()).toEqual([false, false]);
      box.clocks.pass(10 * SECOND);
      expect(await take()).toContain(true);
      expect(await box.inbox.pauses.takeProbe(CREATED, 0)).toBe(false);
      expect(await box.inbox.pauses.takeProbe(UPDATED, 0)).toBe(false);
    });

    test("a run of a paused handler that has to run exclusively waits, and another one is claimed", async () => {
      await using box = await emptyBox(open);
      const suspects = [CRM, CREATED];
      for (const [n, handler] of suspects.entries()) {
        await box.accept(handler, { subject: `user_${n}` }, [run(handler)]);
        await box.claimAndFinish(interrupted(n, true), [handler]);
      }
      box.clocks.pass(SECOND);
      await box.inbox.pauses.pause(CRM, "person", null, null);
      expect(await box.claimWithin({ [CRM]: 1, [CREATED]: 1 })).toMatchObject({ runs: [], exclusive: CREATED });
      expect(ids((await box.claimWithin({}, { exclusive: true })).runs)).toEqual([CREATED]);
      expect((await box.claimWithin({}, { exclusive: true })).runs).toEqual([]);
      await box.inbox.pauses.resume(CRM);
      expect(ids((await box.claimWithin({}, { exclusive: true })).runs)).toEqual([CRM]);
    });

    test("a handler without slots holds up only its own order keys", async () => {
      await using box = await emptyBox(open);
      await box.inbox.pauses.pause(CREATED, "person", null, null);
      await box.accept("created", { subject: "user_1", at: at(1) }, [run(CREATED), run(CRM)]);
      await box.accept("updated", { subject: "user_1", at: at(2), type: UPDATED });
      await box.accept("other", { subject: "user_2", type: UPDATED });
      const claimed = await box.claim([CRM, UPDATED]);
      expect(claimed.map(({ delivery, handler }) => `${delivery.id} ${handler}`).toSorted()).toEqual([
        `created ${CRM}`,
        `other ${UPDATED}`,
      ]);
      for (const one of claimed) await box.finish(one);
      await box.inbox.pauses.resume(CREATED);
      expect(ids(await box.claim([CREATED, UPDATED]))).toEqual(["created"]);
    });
  });
}
