// Every inbox with a claimer claims with each commit: a run starts with the commit that makes it claimable.

import { describe, expect, test } from "bun:test";

import type { Claim, ClaimedRun, Outcome } from "../../src/inbox/inbox.ts";
import { until } from "../until.ts";
import {
  at,
  type Box,
  claimer,
  CREATED,
  CRM,
  DELETED,
  delivery,
  done,
  emptyBox,
  HOUR,
  interrupted,
  knownHandler,
  type OpenInbox,
  OWNER,
  retry,
  run,
  SECOND,
  UPDATED,
} from "./box.ts";

export function startsContract(name: string, open: OpenInbox): void {
  /** A claimer with these slots per handler. A run holds its slot from its claim until its outcome is reported. */
  function startClaimer(box: Box, limits: Record<string, number>) {
    const slots = new Map(Object.entries(limits));
    const held = new Map<number, ClaimedRun>();
    const claims: Claim[] = [];
    let exclusive = false;
    box.inbox.claimWithEachCommit(
      {
        owner: OWNER,
        capacity: () => ({ slots, exclusive }),
        held: () => new Map([...held].map(([run, { attempt }]) => [run, attempt])),
      },
      (claim) => {
        claims.push(claim);
        for (const claimed of claim.runs) {
          held.set(claimed.run, claimed);
          slots.set(claimed.handler, slots.get(claimed.handler)! - 1);
        }
      },
    );
    const runs = () => claims.flatMap((claim) => claim.runs);
    return {
      claims,
      runs,
      onlyExclusive: () => (exclusive = true),
      /** Waits until `count` runs have started, and returns them. */
      async started(count: number): Promise<ClaimedRun[]> {
        await until(`${count} runs to start`, () => runs().length >= count);
        return runs();
      },
      async finish(claimed: ClaimedRun, outcome: Outcome = done) {
        slots.set(claimed.handler, slots.get(claimed.handler)! + 1);
        const answer = await box.inbox.finish(claimed, outcome);
        held.delete(claimed.run);
        return answer;
      },
    };
  }

  const allHandlers = { [CREATED]: 9, [UPDATED]: 9, [DELETED]: 9, [CRM]: 9 };

  describe(`${name}: claiming with each commit`, () => {
    test("a run that starts with its delivery is claimed like any other, and only once", async () => {
      await using plain = await emptyBox(open);
      await plain.accept("msg_1", { at: at(5), receivedAt: at(6) });
      await using box = await emptyBox(open);
      const starts = startClaimer(box, allHandlers);
      await box.accept("msg_1", { at: at(5), receivedAt: at(6) });
      expect(await box.stateOf("msg_1")).toBe("running");
      const [claimed] = await starts.started(1);
      expect(claimed).toEqual(await plain.claimOne());
      expect(await box.claim()).toEqual([]);
      expect(await starts.finish(claimed!)).toBe("recorded");
      expect(await box.finish(claimed!)).toBe("superseded");
      expect(await box.stateOf("msg_1")).toBe("done");
      expect(starts.runs()).toHaveLength(1);
    });

    test("the first run that starts with its delivery gets the parsed body, and no other run does", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, { [CREATED]: 1, [CRM]: 1 });
      const event = { type: CREATED };
      await box.inbox.accept({ ...delivery("msg_1"), event }, [run(CREATED), run(CRM)]);
      const claimed = await starts.started(2);
      expect(claimed.filter((started) => started.event === event)).toHaveLength(1);
      expect(claimed.filter((started) => started.event === undefined)).toHaveLength(1);
      const [first] = claimed.filter((started) => started.event === event);
      await starts.finish(first!, retry(0));
      const [, , again] = await starts.started(3);
      expect(again).toMatchObject({ run: first!.run, body: delivery("msg_1").body });
      expect(again!.event).toBeUndefined();
    });

    test("starts only handlers with slots, and no parked run", async () => {
      await using box = await emptyBox(open);
      const mail = "user.created/mail";
      const starts = startClaimer(box, { [CREATED]: 1, [mail]: 1 });
      await box.accept("msg_1", {}, [run(CREATED), run(CRM), run(mail, { parked: true })]);
      expect((await starts.started(1)).map(({ handler }) => handler)).toEqual([CREATED]);
      expect((await box.inbox.get("msg_1"))?.runs.map(({ state }) => state)).toEqual(["running", "waiting", "waiting"]);
      expect((await box.claim([CRM, mail])).map(({ handler }) => handler)).toEqual([CRM]);
    });

    test("starts at most as many runs as there are slots, also of deliveries that arrive at the same time", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, { [CREATED]: 2 });
      await Promise.all([1, 2, 3, 4, 5].map((n) => box.accept(`msg_${n}`, { subject: `user_${n}` })));
      const [first] = await starts.started(2);
      expect(await box.list({ state: "running" })).toHaveLength(2);
      await starts.finish(first!);
      await starts.started(3);
      expect(await box.list({ state: "running" })).toHaveLength(2);
      expect(await box.list({ state: "waiting" })).toHaveLength(2);
    });

    test("a run that has waited for a slot gets it before a delivery that arrives when it becomes free", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, { [CREATED]: 1 });
      await box.accept("first", { subject: "user_1" });
      await box.accept("waiting", { subject: "user_2" });
      box.clocks.pass(SECOND);
      const [first] = await starts.started(1);
      await Promise.all([starts.finish(first!), box.accept("new", { subject: "user_3" })]);
      expect((await starts.started(2))[1]!.delivery.id).toBe("waiting");
      expect(await box.stateOf("new")).toBe("waiting");
    });

    test("a run waits for an earlier run of its order key that has not ended", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, allHandlers);
      await box.accept("msg_1", { at: at(1) });
      const [first] = await starts.started(1);
      await box.accept("msg_2", { type: UPDATED, at: at(2) });
      expect(await box.stateOf("msg_2")).toBe("waiting");
      await box.accept("msg_3", { type: DELETED, at: at(3), subject: "user_2" });
      expect(await box.stateOf("msg_3")).toBe("running");
      await starts.finish(first!, retry(5 * SECOND));
      await box.accept("msg_4", { type: UPDATED, at: at(4) });
      expect(await box.stateOf("msg_4")).toBe("waiting");
      box.clocks.pass(5 * SECOND);
      await box.accept("other", { subject: "user_3" });
      expect(
        (await starts.started(4))
          .slice(2)
          .map(({ delivery }) => delivery.id)
          .toSorted(),
      ).toEqual(["msg_1", "other"]);
    });

    test("finishing a run starts the next run of its order key in the same commit", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, allHandlers);
      for (const n of [1, 2, 3]) await box.accept(`msg_${n}`, { at: at(n) });
      for (const n of [1, 2, 3]) {
        const claimed = (await starts.started(n)).at(-1)!;
        expect(claimed).toMatchObject({ delivery: { id: `msg_${n}` }, stale: false });
        expect(await starts.finish(claimed)).toBe("recorded");
        if (n < 3) expect(await box.stateOf(`msg_${n + 1}`)).toBe("running");
      }
      expect(starts.runs()).toHaveLength(3);
    });

    test("an event that arrives after a later one is done starts as stale", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, allHandlers);
      await box.accept("msg_1", { at: at(2) });
      await starts.finish((await starts.started(1))[0]!);
      await box.accept("msg_2", { at: at(1) });
      const [, second] = await starts.started(2);
      expect(second).toMatchObject({ delivery: { id: "msg_2" }, stale: true });
      await starts.finish(second!);
      await box.accept("msg_3", { at: at(2) });
      expect((await starts.started(3))[2]).toMatchObject({ delivery: { id: "msg_3" }, stale: false });
    });

    test("a duplicate starts nothing", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, allHandlers);
      await box.accept("msg_1");
      expect(await box.accept("msg_1")).toEqual({
        status: "duplicate",
        runs: [{ handler: CREATED, state: "running" }],
      });
      expect(await starts.started(1)).toHaveLength(1);
    });

    test("a run that started with its delivery is found after a crash", async () => {
      await using box = await emptyBox(open);
      const starts = startClaimer(box, allHandlers);
      await box.accept("msg_1");
      const claimed = await starts.started(1);
      await box.reopen();
      expect(await box.inbox.abandoned(new Set(["owner-2"]))).toEqual(claimed);
      expect(await box.finish(claimed[0]!, interrupted(0))).toBe("recorded");
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test.each<[string, (box: Box) => Promise<unknown>]>([
      ["a replay", (box) => box.replay("done", "again")],
      ["unparking", (box) => box.inbox.park(new Set([CREATED]))],
      ["retryNow", async (box) => box.inbox.retryNow((await box.runOf("delayed")).run)],
      ["giveUp", async (box) => box.inbox.giveUp((await box.runOf("delayed")).run, "enough")],
    ])("%s starts the run that it makes claimable", async (cause, action) => {
      await using box = await emptyBox(open);
      await box.accept("done", { subject: "user_1" });
      await box.claimAndFinish();
      await box.accept("delayed", { subject: "user_2", at: at(1) });
      await box.claimAndFinish(retry(HOUR));
      await box.accept("behind", { subject: "user_2", at: at(2) });
      await box.accept("parked", { subject: "user_3" }, [run(CREATED, { parked: true })]);
      const starts = startClaimer(box, allHandlers);
      await action(box);
      const [claimed] = await starts.started(1);
      const id = { "a replay": "done", unparking: "parked", retryNow: "delayed", giveUp: "behind" }[cause];
      expect(claimed!.delivery.id).toBe(id!);
      expect(starts.runs()).toHaveLength(1);
    });

    test("reports a due exclusive run, and starts it when only exclusive runs are requested", async () => {
      await using box = await emptyBox(open);
      await box.accept("suspect", { subject: "user_1" });
      await box.claimAndFinish(interrupted(0, true));
      const starts = startClaimer(box, allHandlers);
      await box.accept("other", { subject: "user_2" });
      const [other] = await starts.started(1);
      expect(other!.delivery.id).toBe("other");
      expect(starts.claims.at(-1)?.exclusive).toBe(CREATED);
      starts.onlyExclusive();
      await box.accept("later", { subject: "user_3" });
      expect((await starts.started(2))[1]).toMatchObject({ delivery: { id: "suspect" }, exclusive: true });
      expect(await box.stateOf("later")).toBe("waiting");
    });

    test("a commit starts a single exclusive run, also when it stores a delivery", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`suspect_${n}`, { subject: `user_${n}` });
      for (const claimed of await box.claim()) await box.finish(claimed, interrupted(0, true));
      const starts = startClaimer(box, allHandlers);
      starts.onlyExclusive();
      await box.accept("other", { subject: "user_3" });
      expect(await starts.started(1)).toMatchObject([{ exclusive: true }]);
      expect(await box.list({ state: "running" })).toHaveLength(1);
    });

    test("starts nothing for a claimer without slots, and its runs can be claimed", async () => {
      await using box = await emptyBox(open);
      box.inbox.claimWithEachCommit(claimer({ [CREATED]: 0 }), () => undefined);
      await box.accept("msg_1");
      expect(await box.stateOf("msg_1")).toBe("waiting");
      expect(await box.claim()).toHaveLength(1);
    });

    test("a replay step starts live runs before the ones that it adds", async () => {
      await using box = await emptyBox(open);
      await box.accept("bulk", { subject: "user_1" }, []);
      await box.accept("live", { subject: "user_2" });
      const starts = startClaimer(box, { [CREATED]: 1 });
      const handlers = [knownHandler(CREATED)];
      const request = {
        filter: { id: "bulk" },
        handlers,
        stale: false,
        bulk: true,
        replay: "again",
        after: 0,
        limit: 9,
      };
      await box.inbox.replay(request);
      expect((await starts.started(1)).map(({ delivery }) => delivery.id)).toEqual(["live"]);
    });
  });
}
