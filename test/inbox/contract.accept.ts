// Every inbox stores a delivery once, with its runs, and a failing operation affects no other one.

import { describe, expect, test } from "bun:test";

import { InboxUnavailable } from "../../src/errors.ts";
import type { NewDelivery, Outcome } from "../../src/inbox/inbox.ts";
import {
  at,
  CREATED,
  CRM,
  delivery,
  done,
  emptyBox,
  expectWork,
  HOUR,
  ids,
  type OpenInbox,
  retry,
  run,
} from "./box.ts";

export function acceptContract(name: string, open: OpenInbox): void {
  describe(`${name}: accepting deliveries`, () => {
    test("returns an accepted delivery unchanged, with a waiting run for each handler", async () => {
      await using box = await emptyBox(open);
      const stored = delivery("msg_1", { headers: { "svix-timestamp": "1", "content-type": "application/json" } });
      expect(await box.inbox.accept(stored, [run(CREATED), run(CRM, { parked: true })])).toEqual({
        status: "accepted",
      });

      const view = await box.inbox.get("msg_1");
      const { sensitive: _, ...plain } = stored;
      expect(view).toMatchObject({ ...plain, receipts: 1 });
      const waiting = { replay: "", state: "waiting", attempts: [], due: 0, reason: null };
      expect(view?.runs).toMatchObject([
        { ...waiting, handler: CREATED, parked: false },
        { ...waiting, handler: CRM, parked: true },
      ]);
    });

    test("returns null for an unknown id", async () => {
      await using box = await emptyBox(open);
      expect(await box.inbox.get("msg_1")).toBeNull();
    });

    test("stores a repeated delivery once and counts its receipts", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      expect(await box.accept("msg_1")).toEqual({
        status: "duplicate",
        runs: [{ handler: CREATED, state: "waiting" }],
      });
      expect((await box.claimOne()).delivery.receipts).toBe(2);
      expect(await box.accept("msg_1")).toMatchObject({ runs: [{ state: "running" }] });
      expect(await box.inbox.get("msg_1")).toMatchObject({ receipts: 3, runs: [{ handler: CREATED }] });
    });

    test("stores a delivery once when copies arrive at the same time", async () => {
      await using box = await emptyBox(open);
      const answers = await Promise.all(Array.from({ length: 20 }, () => box.accept("msg_1")));
      expect(answers.filter(({ status }) => status === "accepted")).toHaveLength(1);
      expect(await box.inbox.get("msg_1")).toMatchObject({ receipts: 20 });
      expect(await box.claim()).toHaveLength(1);
    });

    test("keeps the first body when deliveries share an id, also when they arrive at the same time", async () => {
      await using box = await emptyBox(open);
      const [first, second, third] = ["first", "second", "third"].map((text) => new TextEncoder().encode(text));
      const answers = await Promise.all([
        box.accept("msg_1", { body: first!, at: at(1), subject: "user_1" }, [run(CREATED)]),
        box.accept("msg_1", { body: second!, at: at(2), subject: "user_2" }, [run(CREATED), run(CRM)]),
      ]);
      await box.accept("msg_1", { body: third!, at: at(3), subject: "user_3" }, []);
      const isFirst = answers[0].status === "accepted";
      const stored = isFirst
        ? { body: first!, at: at(1), subject: "user_1", receipts: 3 }
        : { body: second!, at: at(2), subject: "user_2", receipts: 3 };
      expect(answers.map(({ status }) => status).toSorted()).toEqual(["accepted", "duplicate"]);
      expect(await box.inbox.get("msg_1")).toMatchObject(stored);
      expect((await box.inbox.get("msg_1"))?.runs).toHaveLength(isFirst ? 1 : 2);
    });

    test("stores an event without a handler", async () => {
      await using box = await emptyBox(open);
      expect(await box.accept("msg_1", {}, [])).toEqual({ status: "accepted" });
      expect(await box.accept("msg_1", {}, [])).toEqual({ status: "duplicate", runs: [] });
      expect(await box.inbox.get("msg_1")).toMatchObject({ receipts: 2, runs: [] });
    });

    test("returns the received bytes unchanged", async () => {
      await using box = await emptyBox(open);
      const whole = new Uint8Array(300).map((_, index) => index);
      const bodies = {
        bom: new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d]),
        invalid: new Uint8Array([0x7b, 0xff, 0xc3, 0x28, 0x00, 0xed, 0xa0, 0x80, 0x7d]),
        empty: new Uint8Array(),
        part: whole.subarray(100, 200),
      };
      for (const [id, body] of Object.entries(bodies)) await box.accept(id, { body, subject: id });
      await box.reopen();
      for (const [id, body] of Object.entries(bodies)) expect((await box.inbox.get(id))?.body).toEqual(body);
      const runs = await box.claim();
      expect(Object.fromEntries(runs.map((claimed) => [claimed.delivery.id, claimed.body]))).toEqual(bodies);
    });

    test("reports work for a new run and for a replay", async () => {
      await using box = await emptyBox(open);
      await expectWork(box.inbox, () => box.accept("msg_1"));
      await box.claimAndFinish();
      await expectWork(box.inbox, () => box.replay("msg_1", "again"));
    });

    test("reports work for the next run of an order key and for a retry", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { at: at(1) });
      await box.accept("msg_2", { at: at(2) });
      const [first] = await box.claim();
      await expectWork(box.inbox, () => box.finish(first!));
      const [second] = await box.claim();
      await expectWork(box.inbox, () => box.finish(second!, retry(HOUR)));
    });
  });

  describe(`${name}: bugs`, () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;

    test.each<[string, Partial<NewDelivery>]>([
      ["a value that the database refuses", { at: Number.NaN }],
      ["a value that can't be serialized", { headers: circular as Record<string, string> }],
    ])("rejects only the delivery with %s, with its own error", async (_, broken) => {
      await using box = await emptyBox(open);
      const [before, refused, after] = await Promise.allSettled([
        box.accept("before", { subject: "user_1" }),
        box.accept("broken", { ...broken, subject: "user_2" }),
        box.accept("after", { subject: "user_3" }),
      ]);
      expect([before, after]).toMatchObject([{ value: { status: "accepted" } }, { value: { status: "accepted" } }]);
      expect(refused).toMatchObject({ status: "rejected", reason: expect.any(Error) });
      expect((refused as PromiseRejectedResult).reason).not.toBeInstanceOf(InboxUnavailable);
      expect(box.inbox.writable).toBe(true);
      expect(await box.inbox.get("broken")).toBeNull();
      expect(ids(await box.claim()).toSorted()).toEqual(["after", "before"]);
    });

    test("rejects only the outcome that can't be stored, and its run can still be finished", async () => {
      await using box = await emptyBox(open);
      for (const n of [1, 2]) await box.accept(`msg_${n}`, { subject: `user_${n}` });
      const [first, second] = await box.claim();
      const broken: Outcome = { kind: "dead", record: { startedAt: Number.NaN, took: 1 }, reason: "a bug" };
      const [refused, recorded] = await Promise.allSettled([
        box.inbox.finish(first!, broken),
        box.inbox.finish(second!, done),
      ]);
      expect(recorded).toMatchObject({ value: "recorded" });
      expect(refused).toMatchObject({ status: "rejected", reason: expect.any(Error) });
      expect((refused as PromiseRejectedResult).reason).not.toBeInstanceOf(InboxUnavailable);
      expect(box.inbox.writable).toBe(true);
      expect(await box.stateOf(first!.delivery.id)).toBe("running");
      expect(await box.finish(first!)).toBe("recorded");
    });
  });
}
