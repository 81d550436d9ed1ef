// What every inbox has to do, as tests over a function that opens one. It uses nothing but the interface.

import { describe, expect, test } from "bun:test";

import type { AttemptRecord, Inbox, MissingQuery, MissingStep } from "../../src/inbox/inbox.ts";
import {
  at,
  createClocks,
  CREATED,
  DAY,
  dead,
  DELETED,
  delivery,
  done,
  emptyBox as emptyBoxOf,
  HOUR,
  ids,
  interrupted,
  ME,
  type OpenInbox,
  released,
  retry,
  run,
  SECOND,
  skipped,
  UPDATED,
} from "./box.ts";
import { beginContract } from "./contract.begin.ts";
import { listContract } from "./contract.lists.ts";
import { personContract } from "./contract.people.ts";
import { replayContract } from "./contract.replays.ts";
import { retentionContract } from "./contract.retention.ts";

export * from "./box.ts";

/** Runs the whole suite against one backend. */
export function inboxContract(name: string, open: OpenInbox): void {
  beginContract(name, open);
  listContract(name, open);
  personContract(name, open);
  replayContract(name, open);
  retentionContract(name, open);
  const emptyBox = () => emptyBoxOf(open);

  describe(`${name}: accepting`, () => {
    test("an accepted delivery can be read back whole, with a waiting run for each handler", async () => {
      await using box = await emptyBox();
      const stored = delivery("msg_1", { headers: { "svix-timestamp": "1", "content-type": "application/json" } });
      expect(await box.inbox.accept(stored, [run(CREATED), run("user.created/crm", { parked: true })])).toEqual({
        status: "accepted",
      });

      const view = await box.inbox.get("msg_1");
      const { sensitive: _, ...plain } = stored;
      expect(view).toMatchObject({ ...plain, receipts: 1 });
      const waiting = { replay: "", state: "waiting", attempts: [], due: 0, reason: null };
      expect(view?.runs).toMatchObject([
        { ...waiting, handler: CREATED, parked: false },
        { ...waiting, handler: "user.created/crm", parked: true },
      ]);
    });

    test("an id that never came is not there", async () => {
      await using box = await emptyBox();
      expect(await box.inbox.get("msg_1")).toBeNull();
    });

    test("a delivery that comes again is stored once, and its receipts are counted", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      expect(await box.accept("msg_1")).toEqual({
        status: "duplicate",
        runs: [{ handler: CREATED, state: "waiting" }],
      });
      expect((await box.claimOne()).delivery.receipts).toBe(2);
      expect(await box.accept("msg_1")).toMatchObject({ runs: [{ state: "running" }] });
      expect(await box.inbox.get("msg_1")).toMatchObject({ receipts: 3, runs: [{ handler: CREATED }] });
    });

    test("copies that arrive at the same instant are stored once", async () => {
      await using box = await emptyBox();
      const answers = await Promise.all(Array.from({ length: 20 }, () => box.accept("msg_1")));
      expect(answers.filter(({ status }) => status === "accepted")).toHaveLength(1);
      expect(await box.inbox.get("msg_1")).toMatchObject({ receipts: 20 });
      expect(await box.claim()).toHaveLength(1);
    });

    test("of two bodies under one id the first one counts, also at the same instant", async () => {
      await using box = await emptyBox();
      const [first, second] = ["first", "second"].map((text) => new TextEncoder().encode(text));
      await Promise.all([
        box.accept("msg_1", { body: first!, at: at(1), subject: "user_1" }, [run(CREATED)]),
        box.accept("msg_1", { body: second!, at: at(2), subject: "user_2" }, [run(CREATED), run("user.created/crm")]),
      ]);
      await box.accept("msg_1", { body: second! });
      expect(await box.inbox.get("msg_1")).toMatchObject({ body: first!, at: at(1), subject: "user_1", receipts: 3 });
      expect((await box.inbox.get("msg_1"))?.runs).toHaveLength(1);
    });

    test("an event without a handler is stored", async () => {
      await using box = await emptyBox();
      expect(await box.accept("msg_1", {}, [])).toEqual({ status: "accepted" });
      expect(await box.accept("msg_1", {}, [])).toEqual({ status: "duplicate", runs: [] });
      expect(await box.inbox.get("msg_1")).toMatchObject({ receipts: 2, runs: [] });
    });

    test("the bytes come back as they came", async () => {
      await using box = await emptyBox();
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
      const tickets = await box.claim();
      expect(Object.fromEntries(tickets.map((ticket) => [ticket.delivery.id, ticket.body]))).toEqual(bodies);
    });

    test("whoever waits for work hears of it, and of a replay", async () => {
      await using box = await emptyBox();
      let woken = 0;
      box.inbox.onWork(() => (woken += 1));
      await box.accept("msg_1");
      expect(woken).toBe(1);
      await box.settle(await box.claimOne());
      // Nothing came of it that could go.
      expect(woken).toBe(1);
      await box.inbox.replay("msg_1", "again", [run(CREATED)]);
      expect(woken).toBe(2);
    });

    test("whoever waits for work hears of the next one of a line, and of a retry", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", { at: at(1) });
      await box.accept("msg_2", { at: at(2) });
      let woken = 0;
      box.inbox.onWork(() => (woken += 1));
      await box.settle(await box.claimOne());
      expect(woken).toBe(1);
      await box.settle(await box.claimOne(), retry(HOUR));
      expect(woken).toBe(2);
    });
  });

  describe(`${name}: claiming`, () => {
    test("a ticket says all that a handler is told", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", { at: at(5), receivedAt: at(6) });
      const { run: id, ...ticket } = await box.claimOne();
      expect(id).toBeNumber();
      expect(ticket).toEqual({
        attempt: 1,
        handler: CREATED,
        spent: 0,
        interrupted: 0,
        alone: false,
        replay: "",
        stale: false,
        delivery: {
          id: "msg_1",
          type: CREATED,
          subject: "user_1",
          receivedAt: at(6),
          receipts: 1,
          sample: false,
          at: at(5),
        },
        body: delivery("msg_1").body,
      });
      expect(await box.stateOf("msg_1")).toBe("running");
    });

    test("a run is begun once, however often and by whomever it is claimed", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      const claims = await Promise.all(
        ["owner-1", "owner-2", "owner-1"].map((owner) => box.inbox.claim(owner, new Map([[CREATED, 10]]))),
      );
      expect(claims.flatMap(({ tickets }) => tickets)).toHaveLength(1);
      expect(await box.claim()).toEqual([]);
    });

    test("no more runs of a handler begin than it has room for, and others do not lose by it", async () => {
      await using box = await emptyBox();
      for (let n = 0; n < 5; n += 1) {
        await box.accept(`created_${n}`, { subject: `user_${n}` });
        await box.accept(`crm_${n}`, { subject: `user_${n}` }, [run("user.created/crm")]);
      }
      const rooms = new Map([
        [CREATED, 2],
        ["user.created/crm", 4],
      ]);
      const { tickets } = await box.inbox.claim(ME, rooms);
      expect(ids(tickets).toSorted()).toEqual(["created_0", "created_1", "crm_0", "crm_1", "crm_2", "crm_3"]);
      expect(await box.claim([CREATED])).toHaveLength(3);
    });

    test("a handler that is not named in the rooms stays where it is", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      expect(await box.claim([UPDATED])).toEqual([]);
      expect((await box.inbox.claim(ME, new Map())).tickets).toEqual([]);
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test("a claim says how long it is until the next run is due, and nothing when none waits for a time", async () => {
      await using box = await emptyBox();
      const rooms = new Map([[CREATED, 10]]);
      expect((await box.inbox.claim(ME, rooms)).next).toBeNull();
      for (const [id, delay] of Object.entries({ slow: HOUR, quick: 20 * SECOND })) {
        await box.accept(id, { subject: id });
        await box.settle(await box.claimOne(), retry(delay));
      }
      expect((await box.inbox.claim(ME, rooms)).next).toBe(20 * SECOND);
      box.clocks.pass(5 * SECOND);
      expect((await box.inbox.claim(ME, rooms)).next).toBe(15 * SECOND);
      // What has no room wakes nobody.
      expect((await box.inbox.claim(ME, new Map([[UPDATED, 10]]))).next).toBeNull();
      expect(await box.runOf("quick")).toMatchObject({ state: "waiting", due: 15 * SECOND });

      box.clocks.pass(15 * SECOND - 1);
      expect(await box.claim()).toEqual([]);
      box.clocks.pass(1);
      const claim = await box.inbox.claim(ME, rooms);
      expect(ids(claim.tickets)).toEqual(["quick"]);
      expect(claim.next).toBe(HOUR - 20 * SECOND);
    });

    test("a wait of months is a wait of months", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(300 * DAY));
      expect((await box.inbox.claim(ME, new Map([[CREATED, 1]]))).next).toBe(300 * DAY);
      box.clocks.pass(300 * DAY);
      expect(await box.claim()).toHaveLength(1);
    });
  });

  describe(`${name}: order`, () => {
    test("in one lane, runs of one subject go one at a time, in the order of their events", async () => {
      await using box = await emptyBox();
      await box.accept("deleted", { type: DELETED, at: at(3) });
      await box.accept("created", { type: CREATED, at: at(1) });
      await box.accept("updated", { type: UPDATED, at: at(2) });
      for (const id of ["created", "updated", "deleted"]) {
        const ticket = await box.claimOne();
        expect(ticket).toMatchObject({ delivery: { id }, stale: false });
        expect(await box.claim()).toEqual([]);
        await box.settle(ticket);
      }
      expect(await box.claim()).toEqual([]);
    });

    test("events of the same time go in the order of their arrival, and neither is stale", async () => {
      await using box = await emptyBox();
      for (const id of ["first", "second", "third"]) await box.accept(id, { at: at(1) });
      for (const id of ["first", "second", "third"]) {
        const ticket = await box.claimOne();
        expect(ticket).toMatchObject({ delivery: { id }, stale: false });
        await box.settle(ticket);
      }
    });

    test("a later event waits while an earlier one is being retried", async () => {
      await using box = await emptyBox();
      await box.accept("created", { at: at(1) });
      await box.accept("deleted", { type: DELETED, at: at(2) });
      await box.settle(await box.claimOne(), retry(10 * SECOND));
      expect(await box.claim()).toEqual([]);
      box.clocks.pass(10 * SECOND);
      await box.settle(await box.claimOne());
      expect((await box.claimOne()).delivery.id).toBe("deleted");
    });

    test("other subjects, other lanes and samples do not wait", async () => {
      await using box = await emptyBox();
      await box.accept("first");
      await box.claimOne();
      await box.accept("same");
      await box.accept("other", { subject: "user_2" });
      await box.accept("crm", {}, [run("user.created/crm")]);
      await box.accept("sample", { sample: true });
      await box.accept("sample_later", { sample: true, at: at(1) });
      const tickets = await box.claim([CREATED, "user.created/crm"]);
      expect(ids(tickets).toSorted()).toEqual(["crm", "other", "sample"]);
      expect(tickets.every(({ stale }) => !stale)).toBe(true);
    });

    test("events about nothing in particular wait for nobody and are never stale", async () => {
      await using box = await emptyBox();
      await box.accept("late", { subject: null, at: at(9) });
      await box.settle(await box.claimOne());
      for (const id of ["a", "b", "c"]) await box.accept(id, { subject: null, at: at(1) });
      const tickets = await box.claim();
      expect(ids(tickets).toSorted()).toEqual(["a", "b", "c"]);
      expect(tickets.every(({ stale }) => !stale)).toBe(true);
      await box.settle(tickets[0]!, retry(SECOND));
      box.clocks.pass(SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("an earlier event that comes late goes before one that waits for its retry, and at once", async () => {
      await using box = await emptyBox();
      await box.accept("updated", { type: UPDATED, at: at(5) });
      await box.settle(await box.claimOne(), retry(HOUR));
      await box.accept("created", { at: at(1) });
      const ticket = await box.claimOne();
      expect(ticket).toMatchObject({ delivery: { id: "created" }, stale: false });
      box.clocks.pass(HOUR);
      expect(await box.claim()).toEqual([]);
      await box.settle(ticket);
      expect((await box.claimOne()).delivery.id).toBe("updated");
    });

    test("an earlier event that comes while a later one runs waits for its end", async () => {
      await using box = await emptyBox();
      await box.accept("updated", { type: UPDATED, at: at(5) });
      const running = await box.claimOne();
      await box.accept("created", { at: at(1) });
      expect(await box.claim()).toEqual([]);
      // It fails: now the earlier one is the next, although the later one would be due.
      await box.settle(running, retry(0));
      expect((await box.claimOne()).delivery.id).toBe("created");
    });

    test("a run is stale when a later event is done, and only then", async () => {
      await using box = await emptyBox();
      await box.accept("later", { at: at(5) });
      const running = await box.claimOne();
      for (const second of [4, 5, 6]) await box.accept(`at_${second}`, { at: at(second) });
      await box.settle(running);
      for (const [id, stale] of [
        ["at_4", true],
        ["at_5", false],
        ["at_6", false],
      ] as const) {
        const ticket = await box.claimOne();
        expect(ticket).toMatchObject({ delivery: { id }, stale });
        await box.settle(ticket);
      }
    });

    test("a stale event that is done makes nothing fresh again", async () => {
      await using box = await emptyBox();
      await box.accept("later", { at: at(5) });
      await box.settle(await box.claimOne());
      await box.accept("early", { at: at(1) });
      await box.settle(await box.claimOne());
      await box.accept("middle", { at: at(3) });
      expect((await box.claimOne()).stale).toBe(true);
    });

    test.each([
      ["dead", dead],
      ["skipped", skipped],
    ])("a %s run lets its lane go on and makes nothing stale", async (state, outcome) => {
      await using box = await emptyBox();
      await box.accept("first", { at: at(5) });
      await box.accept("next", { at: at(6) });
      await box.settle(await box.claimOne(), outcome);
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
  });

  describe(`${name}: ending an attempt`, () => {
    test("an attempt ends once: what is said a second time is lost", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      const ticket = await box.claimOne();
      const answers = await Promise.all([box.settle(ticket, done), box.settle(ticket, dead)]);
      expect(answers).toEqual(["settled", "lost"]);
      expect(await box.settle(ticket, retry(0))).toBe("lost");
      expect(await box.runOf("msg_1")).toMatchObject({ state: "done", reason: null, attempts: [{ outcome: "done" }] });
    });

    test("an attempt that is over cannot end the next one", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      const first = await box.claimOne();
      await box.settle(first, retry(0));
      expect(await box.settle(first, done)).toBe("lost");
      const second = await box.claimOne();
      expect(second.attempt).toBeGreaterThan(first.attempt);
      for (const outcome of [done, dead, skipped, released, retry(0), interrupted(0)])
        expect(await box.settle(first, outcome)).toBe("lost");
      expect(await box.stateOf("msg_1")).toBe("running");
      expect(await box.settle(second)).toBe("settled");
    });

    test("a run that does not exist is lost", async () => {
      await using box = await emptyBox();
      expect(await box.settle({ run: 4_711, attempt: 1 })).toBe("lost");
    });

    test("every attempt is kept with its error, its log and its time", async () => {
      await using box = await emptyBox();
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
      await box.settle(await box.claimOne(), { kind: "retry", record: failed, delay: 0, alone: false });
      const bare: AttemptRecord = { startedAt: at(20), took: 0, error: { name: "Error", message: "" } };
      await box.settle(await box.claimOne(), { kind: "dead", record: bare, reason: "enough" });
      await box.reopen();
      expect((await box.runOf("msg_1")).attempts).toEqual([
        { ...failed, attempt: 1, outcome: "retry" },
        { ...bare, attempt: 2, outcome: "dead" },
      ]);
    });

    test("a failed attempt is counted", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      for (const spent of [0, 1, 2]) {
        const ticket = await box.claimOne();
        expect(ticket).toMatchObject({ spent, interrupted: 0 });
        await box.settle(ticket, retry(0));
      }
    });

    test("a released attempt is given back, and goes again at once", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(0));
      const ticket = await box.claimOne();
      await box.settle(ticket, released);
      expect((await box.runOf("msg_1")).attempts).toHaveLength(1);
      const again = await box.claimOne();
      expect(again).toMatchObject({ spent: 1, interrupted: 0 });
      expect(again.attempt).toBeGreaterThan(ticket.attempt);
      expect(await box.settle(ticket)).toBe("lost");
    });

    test("an interrupted attempt is counted, and counted as interrupted", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), interrupted(0));
      await box.settle(await box.claimOne(), interrupted(5 * SECOND));
      expect(await box.claim()).toEqual([]);
      box.clocks.pass(5 * SECOND);
      expect(await box.claimOne()).toMatchObject({ spent: 2, interrupted: 2 });
      expect((await box.runOf("msg_1")).attempts).toMatchObject([
        { outcome: "interrupted" },
        { outcome: "interrupted" },
      ]);
    });
  });

  describe(`${name}: alone`, () => {
    test("a run that has to go alone is announced, and begun only when asked for", async () => {
      await using box = await emptyBox();
      await box.accept("suspect");
      await box.settle(await box.claimOne(), interrupted(SECOND, true));
      await box.accept("other", { subject: "user_2" });
      const rooms = new Map([[CREATED, 10]]);
      expect(await box.inbox.claim(ME, new Map())).toMatchObject({ alone: false });

      box.clocks.pass(SECOND);
      const beside = await box.inbox.claim(ME, rooms);
      expect(ids(beside.tickets)).toEqual(["other"]);
      expect(beside.alone).toBe(true);

      const { tickets, alone } = await box.inbox.claim(ME, new Map(), true);
      expect(tickets).toMatchObject([{ delivery: { id: "suspect" }, alone: true, interrupted: 1 }]);
      expect(alone).toBe(false);
      expect((await box.inbox.claim(ME, rooms)).alone).toBe(false);
    });

    test("they go one by one, and take nothing else with them", async () => {
      await using box = await emptyBox();
      for (const n of [1, 2]) await box.accept(`suspect_${n}`, { subject: `user_${n}` });
      for (const ticket of await box.claim()) await box.settle(ticket, interrupted(0, true));
      await box.accept("other", { subject: "user_3" });
      const rooms = new Map([[CREATED, 10]]);
      expect((await box.inbox.claim(ME, rooms, true)).tickets).toHaveLength(1);
      expect((await box.inbox.claim(ME, rooms, true)).tickets).toHaveLength(1);
      expect((await box.inbox.claim(ME, rooms, true)).tickets).toEqual([]);
      expect(ids(await box.claim())).toEqual(["other"]);
    });

    test("a claim says when one that has to go alone is due", async () => {
      await using box = await emptyBox();
      await box.accept("suspect");
      await box.settle(await box.claimOne(), interrupted(20 * SECOND, true));
      expect((await box.inbox.claim(ME, new Map([[CREATED, 1]]))).next).toBe(20 * SECOND);
    });

    test("one whose attempt was given back still has to go alone", async () => {
      await using box = await emptyBox();
      await box.accept("suspect");
      await box.settle(await box.claimOne(), interrupted(0, true));
      const { tickets } = await box.inbox.claim(ME, new Map(), true);
      await box.settle(tickets[0]!, released);
      const beside = await box.inbox.claim(ME, new Map([[CREATED, 10]]));
      expect(beside).toMatchObject({ tickets: [], alone: true });
    });

    test("one that failed by itself is like any other again", async () => {
      await using box = await emptyBox();
      await box.accept("suspect");
      await box.settle(await box.claimOne(), interrupted(0, true));
      const { tickets } = await box.inbox.claim(ME, new Map(), true);
      await box.settle(tickets[0]!, retry(0, false));
      expect(await box.claimOne()).toMatchObject({ alone: false });
    });
  });

  describe(`${name}: after a crash`, () => {
    test("runs that another owner left running are found, and hold their lane until they are settled", async () => {
      await using box = await emptyBox();
      await box.accept("left");
      await box.accept("behind", { at: at(1) });
      await box.accept("waiting", { subject: "user_2" });
      const before = await box.claim([CREATED], 1);
      await box.reopen();
      expect(await box.inbox.orphans(ME)).toEqual([]);
      const orphans = await box.inbox.orphans("owner-2");
      expect(orphans).toEqual(before);
      expect(ids((await box.inbox.claim("owner-2", new Map([[CREATED, 10]]))).tickets)).toEqual(["waiting"]);
      await box.settle(orphans[0]!, interrupted(0));
      expect(await box.inbox.orphans("owner-2")).toEqual([]);
      expect(await box.settle(before[0]!)).toBe("lost");
      expect(ids(await box.claim())).toEqual(["left"]);
    });

    test("a claim whose answer was lost is given back, and what is in our hands is not", async () => {
      await using box = await emptyBox();
      for (const n of [1, 2, 3]) await box.accept(`msg_${n}`, { subject: `user_${n}` });
      const [held, lost] = await box.claim([CREATED], 2);
      const foreign = await box.inbox.claim("owner-2", new Map([[CREATED, 10]]));
      expect(await box.inbox.reconcile(ME, new Set([held!.run]))).toBe(1);
      expect(await box.inbox.reconcile(ME, new Set([held!.run]))).toBe(0);
      expect(await box.settle(lost!)).toBe("lost");
      expect(await box.claimOne()).toMatchObject({ run: lost!.run, spent: 0, interrupted: 0 });
      expect(await box.settle(held!)).toBe("settled");
      expect(await box.settle(foreign.tickets[0]!)).toBe("settled");
    });

    test("everything is there after it was closed and opened again", async () => {
      await using box = await emptyBox();
      await box.accept("done", { at: at(5) });
      await box.settle(await box.claimOne());
      await box.accept("waits", { at: at(6) });
      await box.settle(await box.claimOne(), retry(HOUR));
      await box.accept("queued", { at: at(7) });
      await box.accept("running", { subject: "user_2" });
      await box.claimOne();
      await box.accept("running", { subject: "user_2" });
      const all = ["done", "waits", "queued", "running"];
      const views = () => Promise.all(all.map((id) => box.inbox.get(id)));
      const before = await views();
      await box.reopen();
      expect(await views()).toEqual(before);
      expect(await box.accept("done")).toMatchObject({ status: "duplicate" });
      expect(await box.claim()).toEqual([]);
      await box.accept("stale", { at: at(1) });
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "stale" }, stale: true });
    });

    test("closing twice is closing once", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await Promise.all([box.inbox.close(), box.inbox.close()]);
      await box.inbox.close();
    });

    test("what was asked for before the end is done before the end", async () => {
      await using box = await emptyBox();
      const accepted = box.accept("msg_1");
      await box.inbox.close();
      expect(await accepted).toEqual({ status: "accepted" });
      await box.reopen();
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test("it can be written", async () => {
      await using box = await emptyBox();
      expect(box.inbox.writable).toBe(true);
    });
  });

  describe(`${name}: broken files`, () => {
    const parked = (handler: string) => [run(handler, { parked: true })];

    test("a parked run does not go, and does not hold its lane", async () => {
      await using box = await emptyBox();
      await box.accept("parked", { at: at(1) }, parked(CREATED));
      await box.accept("next", { at: at(2), type: UPDATED });
      expect(ids(await box.claim())).toEqual(["next"]);
      expect(await box.runOf("parked")).toMatchObject({ state: "waiting", parked: true });
    });

    test("when the file loads again its runs go, in their place", async () => {
      await using box = await emptyBox();
      await box.accept("parked", { at: at(1) }, parked(CREATED));
      await box.accept("next", { at: at(2), type: UPDATED });
      await box.inbox.park(new Set([CREATED, UPDATED]));
      expect(await box.runOf("parked")).toMatchObject({ parked: false });
      await box.settle(await box.claimOne());
      expect((await box.claimOne()).delivery.id).toBe("next");
    });

    test("a parked run that comes back is stale when a later event was done meanwhile", async () => {
      await using box = await emptyBox();
      await box.accept("parked", { at: at(1) }, parked(CREATED));
      await box.accept("next", { at: at(2), type: UPDATED });
      await box.settle(await box.claimOne());
      await box.inbox.park(new Set([CREATED, UPDATED]));
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "parked" }, stale: true });
    });

    test("runs whose file has gone are parked, and their lanes go on", async () => {
      await using box = await emptyBox();
      await box.accept("head", { at: at(1) });
      await box.accept("next", { at: at(2), type: UPDATED });
      await box.accept("unordered", { subject: null });
      await box.inbox.park(new Set([UPDATED]));
      expect(ids(await box.claim())).toEqual(["next"]);
      await box.inbox.park(new Set([CREATED, UPDATED]));
      expect(ids(await box.claim())).toEqual(["unordered"]);
    });

    test("a mended file's runs do not wait out an old back-off", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(12 * HOUR));
      await box.inbox.park(new Set());
      await box.inbox.park(new Set([CREATED]));
      expect(await box.claimOne()).toMatchObject({ spent: 1 });
    });

    test("asking for the same files again changes nothing", async () => {
      await using box = await emptyBox();
      await box.accept("loaded");
      await box.settle(await box.claimOne(), retry(HOUR));
      await box.accept("parked", { subject: "user_2", type: UPDATED }, parked(UPDATED));
      for (let n = 0; n < 3; n += 1) await box.inbox.park(new Set([CREATED]));
      expect(await box.runOf("loaded")).toMatchObject({ parked: false, due: HOUR });
      expect(await box.runOf("parked")).toMatchObject({ parked: true });
      expect(await box.claim()).toEqual([]);
    });

    test("a run is parked while its file is broken although another one of the same delivery goes", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", {}, [run(CREATED), run("user.created/crm", { parked: true })]);
      const ticket = await box.claimOne([CREATED, "user.created/crm"]);
      expect(ticket.handler).toBe(CREATED);
      await box.settle(ticket);
      await box.inbox.park(new Set([CREATED, "user.created/crm"]));
      expect((await box.claimOne([CREATED, "user.created/crm"])).handler).toBe("user.created/crm");
    });

    test("after 24 hours without its file a run is skipped, and not a moment earlier", async () => {
      await using box = await emptyBox();
      await box.accept("parked", {}, parked(CREATED));
      box.clocks.pass(DAY - 1);
      await box.inbox.sweep();
      expect(await box.stateOf("parked")).toBe("waiting");
      await box.reopen();
      box.clocks.pass(1);
      await box.inbox.sweep();
      expect(await box.runOf("parked")).toMatchObject({
        state: "skipped",
        reason: expect.stringContaining("24 hours"),
      });
      await box.inbox.park(new Set([CREATED]));
      expect(await box.claim()).toEqual([]);
    });

    test("a file that came back in time starts its 24 hours anew", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.inbox.park(new Set());
      box.clocks.pass(20 * HOUR);
      await box.inbox.park(new Set([CREATED]));
      await box.inbox.park(new Set());
      box.clocks.pass(20 * HOUR);
      await box.inbox.sweep();
      expect(await box.stateOf("msg_1")).toBe("waiting");
    });

    test("waiting runs that are not parked are never swept away", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      box.clocks.pass(30 * DAY);
      await box.inbox.sweep();
      expect(await box.claim()).toHaveLength(1);
    });

    test("one sweep is enough for any number of them", async () => {
      await using box = await emptyBox();
      await Promise.all(
        Array.from({ length: 1_200 }, (_, n) =>
          box.accept(`msg_${n}`, { subject: `user_${n}`, sensitive: true }, parked(CREATED)),
        ),
      );
      box.clocks.pass(DAY);
      await box.inbox.sweep();
      const views = await Promise.all(Array.from({ length: 1_200 }, (_, n) => box.inbox.get(`msg_${n}`)));
      expect(views.filter((view) => view?.body !== null)).toHaveLength(0);
      expect(views.filter((view) => view?.runs[0]?.state !== "skipped")).toHaveLength(0);
    });
  });

  describe(`${name}: one-time codes`, () => {
    const code = { sensitive: true, type: "sms.created", subject: "sms_1" };
    const both = [run("sms.created"), run("sms.created/copy")];

    test("the payload is wiped when the last of its runs has ended", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", code, both);
      const [first, second] = await box.claim(["sms.created", "sms.created/copy"]);
      await box.settle(first!, dead);
      expect((await box.inbox.get("msg_1"))?.body).not.toBeNull();
      await box.settle(second!);
      expect(await box.inbox.get("msg_1")).toMatchObject({ body: null, headers: null, runs: [{}, {}] });
    });

    test("without a handler it is kept for 24 hours", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", code, []);
      box.clocks.pass(DAY - 1);
      await box.inbox.sweep();
      expect((await box.inbox.get("msg_1"))?.body).not.toBeNull();
      await box.reopen();
      box.clocks.pass(1);
      await box.inbox.sweep();
      expect(await box.inbox.get("msg_1")).toMatchObject({ body: null, headers: null });
    });

    test("after 24 hours it is wiped although its run still waits, and the run is told", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", code, [run("sms.created")]);
      await box.settle(await box.claimOne(["sms.created"]), retry(25 * HOUR));
      box.clocks.pass(25 * HOUR);
      await box.inbox.sweep();
      const ticket = await box.claimOne(["sms.created"]);
      expect(ticket.body).toBeNull();
      expect(await box.settle(ticket, dead)).toBe("settled");
    });

    test("it can be run again while it is there, and not afterwards", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", code, []);
      expect(await box.inbox.replay("msg_1", "one", [run("sms.created")])).toBe(1);
      await box.settle(await box.claimOne(["sms.created"]));
      expect((await box.inbox.get("msg_1"))?.body).toBeNull();
      expect(await box.inbox.replay("msg_1", "two", [run("sms.created")])).toBeNull();
    });

    test("nobody else's payload is touched", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne());
      box.clocks.pass(2 * DAY);
      await box.inbox.sweep();
      expect((await box.inbox.get("msg_1"))?.body).toEqual(delivery("msg_1").body);
    });
  });

  describe(`${name}: replay`, () => {
    test.each([
      ["done", done],
      ["dead", dead],
      ["skipped", skipped],
    ])("a delivery that is %s runs again, as a run of its own", async (state, outcome) => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), outcome);
      expect(await box.inbox.replay("msg_1", "again", [run(CREATED)])).toBe(1);
      const ticket = await box.claimOne();
      expect(ticket).toMatchObject({ replay: "again", spent: 0, interrupted: 0, stale: false });
      await box.settle(ticket);
      expect((await box.inbox.get("msg_1"))?.runs).toMatchObject([
        { state, replay: "" },
        { state: "done", replay: "again" },
      ]);
    });

    test("asking twice with one id is asking once; with two it is asking twice", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne());
      const again = (id: string) => box.inbox.replay("msg_1", id, [run(CREATED)]);
      expect(await Promise.all([again("one"), again("one")])).toEqual([1, 0]);
      await box.settle(await box.claimOne());
      expect(await again("one")).toBe(0);
      expect(await box.claim()).toEqual([]);
      expect(await again("two")).toBe(1);
      expect((await box.claimOne()).replay).toBe("two");
    });

    test("a delivery that never came cannot run again", async () => {
      await using box = await emptyBox();
      expect(await box.inbox.replay("msg_1", "again", [run(CREATED)])).toBeNull();
    });

    test("a delivery that had no handler runs through one that came later", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", {}, []);
      await box.inbox.replay("msg_1", "again", [run(CREATED), run("user.created/crm", { parked: true })]);
      expect((await box.claimOne([CREATED, "user.created/crm"])).handler).toBe(CREATED);
      expect(await box.runOf("msg_1", 1)).toMatchObject({ parked: true, state: "waiting" });
    });

    test("it cuts the wait of its own event short, and goes behind it", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(12 * HOUR));
      await box.inbox.replay("msg_1", "again", [run(CREATED)]);
      const first = await box.claimOne();
      expect(first).toMatchObject({ replay: "", spent: 1 });
      await box.settle(first);
      expect(await box.claimOne()).toMatchObject({ replay: "again", spent: 0 });
    });

    test("it leaves the waits of others as they are", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", {}, [run(CREATED), run("user.created/crm")]);
      for (const ticket of await box.claim([CREATED, "user.created/crm"])) await box.settle(ticket, retry(HOUR));
      await box.inbox.replay("msg_1", "again", [run(CREATED)]);
      expect((await box.claimOne([CREATED, "user.created/crm"])).handler).toBe(CREATED);
    });

    test("it has its event's place among the unfinished ones", async () => {
      await using box = await emptyBox();
      await box.accept("early", { at: at(1) });
      await box.settle(await box.claimOne());
      await box.accept("middle", { at: at(2) });
      await box.settle(await box.claimOne(), retry(0));
      await box.accept("late", { at: at(3) });
      await box.inbox.replay("early", "again", [run(CREATED)]);
      for (const id of ["early", "middle", "late"]) {
        const ticket = await box.claimOne();
        expect(ticket).toMatchObject({ delivery: { id }, stale: false });
        await box.settle(ticket);
      }
    });

    test("it does not run beside another run of its lane and subject", async () => {
      await using box = await emptyBox();
      await box.accept("early", { at: at(1) });
      await box.settle(await box.claimOne());
      await box.accept("late", { at: at(2) });
      const running = await box.claimOne();
      await box.inbox.replay("early", "again", [run(CREATED)]);
      expect(await box.claim()).toEqual([]);
      await box.settle(running);
      // It says that it is stale; by its id it runs all the same, which is the dispatcher's to decide.
      expect(await box.claimOne()).toMatchObject({ delivery: { id: "early" }, stale: true, replay: "again" });
    });

    test("it makes nothing fresh that was stale", async () => {
      await using box = await emptyBox();
      for (const [id, second] of Object.entries({ early: 1, late: 3 })) {
        await box.accept(id, { at: at(second) });
        await box.settle(await box.claimOne());
      }
      await box.inbox.replay("early", "again", [run(CREATED)]);
      await box.settle(await box.claimOne());
      await box.accept("middle", { at: at(2) });
      expect((await box.claimOne()).stale).toBe(true);
    });
  });

  describe(`${name}: what a handler never saw`, () => {
    const CRM = "user.created/crm";
    const crm: MissingQuery = { handler: CRM, lane: "user/crm", event: CREATED, since: null, stale: false };
    const nothing = { stale: 0, wiped: 0, more: false };

    /** Takes every step; returns what they came to. */
    async function addAll(inbox: Inbox, query: MissingQuery, limit = 500) {
      const steps: MissingStep[] = [];
      for (let after: number | null = 0; after !== null;) {
        const step: MissingStep = await inbox.addMissing(query, after, limit);
        steps.push(step);
        after = step.next;
      }
      return { steps, added: steps.reduce((sum, { added }) => sum + added, 0) };
    }

    test("deliveries that match it and have no run of it are counted, and run through it once", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.accept("msg_2", {}, []);
      await box.accept("msg_seen", {}, [run(CREATED), run(CRM)]);
      await box.accept("msg_other", { type: UPDATED });
      expect(await box.inbox.missing(crm)).toEqual({ found: 2, ...nothing });
      expect((await addAll(box.inbox, crm)).added).toBe(2);
      expect(await box.inbox.missing(crm)).toEqual({ found: 0, ...nothing });
      expect((await addAll(box.inbox, crm)).added).toBe(0);
      expect((await box.inbox.get("msg_2"))?.runs).toMatchObject([{ handler: CRM, replay: "", state: "waiting" }]);
      expect((await box.inbox.get("msg_1"))?.runs).toHaveLength(2);
      expect((await box.inbox.get("msg_seen"))?.runs).toHaveLength(2);
    });

    test("a replay that somebody asked for by id is another matter: the delivery is still missing", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", {}, []);
      await box.inbox.replay("msg_1", "again", [run(CRM)]);
      expect((await addAll(box.inbox, crm)).added).toBe(1);
      expect((await box.inbox.get("msg_1"))?.runs).toMatchObject([{ replay: "again" }, { replay: "" }]);
    });

    test("a step that is repeated adds nothing, also when both are asked for at once", async () => {
      await using box = await emptyBox();
      for (let n = 0; n < 5; n += 1) await box.accept(`msg_${n}`);
      const steps = await Promise.all([box.inbox.addMissing(crm, 0, 10), box.inbox.addMissing(crm, 0, 10)]);
      expect(steps.map(({ added }) => added)).toEqual([5, 0]);
    });

    test.each([
      ["user.created", 2],
      ["user.*", 3],
      ["*", 5],
      ["session.*", 0],
    ])("the pattern %s takes what it says", async (event, found) => {
      await using box = await emptyBox();
      for (const [n, type] of [CREATED, CREATED, UPDATED, "userx.created", "role.created"].entries())
        await box.accept(`msg_${n}`, { type }, []);
      const query = { ...crm, handler: "pattern", lane: "pattern", event };
      expect(await box.inbox.missing(query)).toEqual({ found, ...nothing });
      expect((await addAll(box.inbox, query)).added).toBe(found);
    });

    test("what was received earlier than asked for is left alone", async () => {
      await using box = await emptyBox();
      for (let n = 1; n <= 4; n += 1) await box.accept(`msg_${n}`, { receivedAt: at(n) }, []);
      const query = { ...crm, since: at(3) };
      expect((await box.inbox.missing(query)).found).toBe(2);
      expect((await addAll(box.inbox, query)).added).toBe(2);
      expect((await box.inbox.get("msg_2"))?.runs).toEqual([]);
      expect((await box.inbox.get("msg_3"))?.runs).toHaveLength(1);
    });

    test("counting ends at the limit, and says so", async () => {
      await using box = await emptyBox();
      for (let n = 0; n < 5; n += 1) await box.accept(`msg_${n}`, {}, []);
      expect(await box.inbox.missing(crm, 4)).toEqual({ found: 4, stale: 0, wiped: 0, more: true });
      expect(await box.inbox.missing(crm, 6)).toEqual({ found: 5, ...nothing });
    });

    test("thousands are found, and added in small steps that miss none", async () => {
      await using box = await emptyBox();
      const handler = (n: number) => (n % 3 === 0 ? [run(CRM)] : []);
      const count = 2_500;
      await Promise.all(
        Array.from({ length: count }, (_, n) => box.accept(`msg_${n}`, { subject: `user_${n}` }, handler(n))),
      );
      const missing = count - Math.ceil(count / 3);
      expect((await box.inbox.missing(crm)).found).toBe(missing);
      const { steps, added } = await addAll(box.inbox, crm, 100);
      expect(added).toBe(missing);
      expect(Math.max(...steps.map((step) => step.added))).toBe(100);
      expect((await box.inbox.missing(crm)).found).toBe(0);
    });

    test("a payload that was wiped can't be run: it is left out, and counted", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", { sensitive: true });
      await box.settle(await box.claimOne());
      await box.accept("msg_2", { sensitive: true }, []);
      expect(await box.inbox.missing(crm)).toEqual({ found: 1, stale: 0, wiped: 1, more: false });
      expect((await addAll(box.inbox, crm)).steps).toMatchObject([{ added: 1, wiped: 1 }, { added: 0 }]);
      await box.settle(await box.claimOne([CRM]));
      expect((await box.inbox.get("msg_2"))?.body).toBeNull();
    });

    test("what a later event has overtaken in the lane is left out and counted, unless it is asked for", async () => {
      await using box = await emptyBox();
      await box.accept("msg_old", { type: UPDATED, at: at(1) }, []);
      await box.accept("msg_sample", { type: UPDATED, at: at(1), sample: true }, []);
      await box.accept("msg_new", { at: at(2) });
      await box.settle(await box.claimOne());
      const query: MissingQuery = { ...crm, handler: UPDATED, lane: "user", event: UPDATED };
      await box.accept("msg_same", { type: UPDATED, at: at(2) }, []);
      expect(await box.inbox.missing(query)).toEqual({ found: 2, stale: 1, wiped: 0, more: false });
      expect((await addAll(box.inbox, query)).added).toBe(2);
      expect((await addAll(box.inbox, { ...query, stale: true })).added).toBe(1);
      expect((await box.claim()).filter(({ stale }) => stale)).toMatchObject([{ delivery: { id: "msg_old" } }]);
    });

    test("they go in the order of their events, whatever the order of their arrival", async () => {
      await using box = await emptyBox();
      for (const n of [3, 1, 2]) await box.accept(`msg_${n}`, { at: at(n) }, []);
      await addAll(box.inbox, crm);
      const order: string[] = [];
      for (let n = 0; n < 3; n += 1) {
        const ticket = await box.claimOne([CRM]);
        order.push(ticket.delivery.id);
        await box.settle(ticket);
      }
      expect(order).toEqual(["msg_1", "msg_2", "msg_3"]);
    });

    test("live deliveries go first: of a subject, and of a handler's slots", async () => {
      await using box = await emptyBox();
      for (const n of [1, 2, 3]) await box.accept(`msg_${n}`, { at: at(n), subject: `user_${n}` }, []);
      await addAll(box.inbox, crm);
      box.clocks.pass(SECOND);
      await box.accept("msg_live", { at: at(9), subject: "user_1" }, [run(CRM)]);
      await box.accept("msg_other", { at: at(9), subject: "user_9" }, [run(CRM)]);
      expect(ids(await box.claim([CRM], 2))).toEqual(["msg_live", "msg_other"]);
      expect(ids(await box.claim([CRM], 9))).toEqual(["msg_2", "msg_3"]);
    });

    test("whoever waits for work hears of them", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", {}, []);
      let woken = 0;
      box.inbox.onWork(() => (woken += 1));
      await addAll(box.inbox, crm);
      expect(woken).toBe(1);
    });

    test("how they stand is told: what goes on, and what waits for a retry or behind one", async () => {
      await using box = await emptyBox();
      const subjects = ["a", "b", "c", "c", "d"];
      for (const [n, subject] of subjects.entries()) await box.accept(`msg_${n}`, { at: at(n), subject }, []);
      const { runs } = await box.inbox.addMissing(crm, 0, 10);
      if (!runs) throw new Error("no runs");
      await box.accept("msg_live", { subject: "z" }, [run(CRM)]);
      const states = () => box.inbox.states(CRM, { first: runs.first, last: runs.last + 1 });
      expect(await states()).toEqual({ done: 0, dead: 0, skipped: 0, waiting: 5, going: 5 });
      const tickets = new Map((await box.claim([CRM])).map((ticket) => [ticket.delivery.id, ticket]));
      await box.settle(tickets.get("msg_0")!);
      await box.settle(tickets.get("msg_1")!, dead);
      await box.settle(tickets.get("msg_4")!, skipped);
      expect(await states()).toEqual({ done: 1, dead: 1, skipped: 1, waiting: 2, going: 2 });
      await box.settle(tickets.get("msg_2")!, retry(5 * SECOND));
      expect(await states()).toEqual({ done: 1, dead: 1, skipped: 1, waiting: 2, going: 0 });
      box.clocks.pass(5 * SECOND);
      expect(await states()).toMatchObject({ waiting: 2, going: 2 });
      await box.inbox.park(new Set());
      expect(await states()).toMatchObject({ waiting: 2, going: 0 });
    });

    test("one whose file is gone does not go on, although others of its lane do", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", { type: UPDATED }, []);
      await box.accept("msg_2");
      const query: MissingQuery = { ...crm, handler: UPDATED, lane: "user", event: UPDATED };
      const { runs } = await box.inbox.addMissing(query, 0, 10);
      expect(await box.inbox.states(UPDATED, runs!)).toMatchObject({ waiting: 1, going: 1 });
      await box.inbox.park(new Set([CREATED]));
      expect(await box.inbox.states(UPDATED, runs!)).toMatchObject({ waiting: 1, going: 0 });
    });

    test("they are there after it was closed and opened again", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1", {}, []);
      await addAll(box.inbox, crm);
      await box.reopen();
      expect((await box.inbox.missing(crm)).found).toBe(0);
      expect(ids(await box.claim([CRM]))).toEqual(["msg_1"]);
    });
  });

  describe(`${name}: clocks that jump`, () => {
    const now = createClocks().wallClock();

    test.each([
      ["years back", now - 3_000 * DAY],
      ["an hour back", now - HOUR],
      ["an hour ahead", now + HOUR],
      ["years ahead", now + 3_000 * DAY],
    ])("a wall clock that is %s after a restart makes nobody wait longer than the delay", async (_, wall) => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(80 * SECOND));
      box.clocks.jump(wall);
      await box.reopen();
      box.clocks.pass(80 * SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("a wall clock that is put right after it was years ahead makes nobody wait either", async () => {
      await using box = await emptyBox();
      box.clocks.jump(now + 3_000 * DAY);
      await box.reopen();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(80 * SECOND));
      box.clocks.jump(now);
      await box.reopen();
      box.clocks.pass(80 * SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("a wall clock that jumps while it is open changes nothing", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(80 * SECOND));
      box.clocks.jump(now + 3_000 * DAY);
      expect(await box.claim()).toEqual([]);
      box.clocks.jump(now - 3_000 * DAY);
      box.clocks.pass(80 * SECOND);
      expect(await box.claim()).toHaveLength(1);
    });

    test("a wait goes on through a restart, and time that passed while it was closed counts", async () => {
      await using box = await emptyBox();
      await box.accept("msg_1");
      await box.settle(await box.claimOne(), retry(80 * SECOND));
      await box.reopen();
      expect(await box.claim()).toEqual([]);
      box.clocks.jump(box.clocks.wallClock() + 80 * SECOND);
      await box.reopen();
      expect(await box.claim()).toHaveLength(1);
    });
  });
}
