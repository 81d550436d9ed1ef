// Every inbox lists stored deliveries, newest first, in pages and by filters.

import { describe, expect, test } from "bun:test";

import type { DeliveryFilter } from "../../src/inbox/views.ts";
import {
  at,
  type Box,
  CREATED,
  CRM,
  dead,
  DELETED,
  done,
  emptyBox,
  HOUR,
  knownHandler,
  type OpenInbox,
  postponed,
  released,
  replayAll,
  retry,
  run,
  skipped,
  UPDATED,
} from "./box.ts";

export function listContract(name: string, open: OpenInbox): void {
  async function listed(box: Box, filter: DeliveryFilter = {}, limit = 100): Promise<string[]> {
    return (await box.list(filter, limit)).map(({ id }) => id);
  }

  /** One delivery in each state, newest last. */
  async function stored(): Promise<Box> {
    const box = await emptyBox(open);
    for (const [id, outcome] of Object.entries({ done, dead, skipped, retried: retry(HOUR) })) {
      await box.accept(id, { subject: id });
      await box.claimAndFinish(outcome);
    }
    await box.accept("running", { subject: "running" });
    await box.claimOne();
    await box.accept("waiting", { subject: "waiting", type: UPDATED });
    await box.accept("parked", { subject: "parked", type: DELETED }, [run(DELETED, { parked: true })]);
    await box.accept("unhandled", { subject: "unhandled", type: "session.created" }, []);
    return box;
  }

  const all = ["unhandled", "parked", "waiting", "running", "retried", "skipped", "dead", "done"];

  describe(`${name}: listing deliveries`, () => {
    test("reads contents by arrival and from the newest down, and the first line of a failure", async () => {
      await using box = await emptyBox(open);
      await box.accept("one", { subject: "one" });
      const error = { name: "TypeError", message: "no plan\nand more" };
      await box.claimAndFinish({ kind: "dead", reason: "no", record: { startedAt: 1, took: 2, error } });
      for (const id of ["two", "three"]) await box.accept(id, { subject: id });
      const { deliveries } = await box.inbox.list({}, { before: null, limit: 10 });
      const contents = await box.inbox.contents({ before: null, limit: 2 });
      expect(contents.map(({ id }) => id)).toEqual(["three", "two"]);
      const arrivals = deliveries.map(({ arrival }) => arrival);
      const below = await box.inbox.contents({ before: contents[1]!.arrival, limit: 2 });
      expect(below.map(({ id, arrival }) => [id, arrival])).toEqual([["one", arrivals.at(-1)!]]);
      const some = await box.inbox.contents([arrivals[0]!, arrivals[2]!]);
      expect(some.map(({ id }) => id).toSorted()).toEqual(["one", "three"]);
      const body = (await box.inbox.get("one"))?.body;
      expect(body && Buffer.from(some.find(({ id }) => id === "one")!.body!).equals(body)).toBe(true);
      expect(await box.inbox.contents([])).toEqual([]);
      const errors = deliveries.flatMap(({ runs }) => runs.flatMap(({ error }) => error ?? []));
      expect(errors).toEqual(["TypeError: no plan"]);
    });

    test("lists the newest first, with the states of their runs and without payloads", async () => {
      await using box = await stored();
      expect(await listed(box)).toEqual(all);
      await box.accept("dead");
      const { deliveries, next } = await box.inbox.list({ id: "dead" }, { before: null, limit: 1 });
      expect(deliveries).toEqual([
        {
          id: "dead",
          arrival: expect.any(Number),
          type: CREATED,
          subject: "dead",
          at: at(0),
          sample: false,
          receivedAt: at(1),
          receipts: 2,
          wiped: false,
          runs: [
            {
              run: expect.any(Number),
              handler: CREATED,
              replay: "",
              state: "dead",
              parked: false,
              attempts: 1,
              took: 3,
              due: null,
              reason: "failed 8 of 8 attempts",
              problem: null,
            },
          ],
        },
      ]);
      expect(next === null || (await box.inbox.list({ id: "dead" }, { before: next, limit: 1 })).deliveries).toEqual(
        next === null ? true : [],
      );
      const [retried] = (await box.inbox.list({ id: "retried" }, { before: null, limit: 9 })).deliveries;
      expect(retried?.runs).toMatchObject([{ state: "waiting", due: HOUR, attempts: 1, took: 3, reason: null }]);
    });

    test.each<[string, DeliveryFilter, string[]]>([
      ["state done", { state: "done" }, ["done"]],
      ["state dead", { state: "dead" }, ["dead"]],
      ["state skipped", { state: "skipped" }, ["skipped"]],
      ["state running", { state: "running" }, ["running"]],
      ["state waiting, including parked runs", { state: "waiting" }, ["parked", "waiting", "retried"]],
      ["parked", { state: "parked" }, ["parked"]],
      ["retrying, which means failed before", { state: "retrying" }, ["retried"]],
      ["unhandled", { state: "unhandled" }, ["unhandled"]],
      ["an event", { type: UPDATED }, ["waiting"]],
      ["a pattern", { type: "user.*" }, all.slice(1)],
      ["every event", { type: "*" }, all],
      ["an event that was never received", { type: "user" }, []],
      ["a subject", { subject: "dead" }, ["dead"]],
      ["a handler", { handler: DELETED }, ["parked"]],
      ["an id", { id: "skipped" }, ["skipped"]],
      ["an id that was never received", { id: "msg_1" }, []],
      ["handler and state", { handler: CREATED, state: "waiting" }, ["retried"]],
      ["handler and parked", { handler: CREATED, state: "parked" }, []],
      ["state and pattern", { state: "waiting", type: "user.u*" }, ["waiting"]],
      ["state and subject of different deliveries", { state: "dead", subject: "done" }, []],
      ["id and state of different deliveries", { id: "done", state: "dead" }, []],
    ])("selects by %s", async (_, filter, expected) => {
      await using box = await stored();
      expect(await listed(box, filter)).toEqual(expected);
    });

    test("handler and state must match the same run", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM)]);
      for (const claimed of await box.claim([CREATED, CRM]))
        await box.finish(claimed, claimed.handler === CRM ? dead : done);
      expect(await listed(box, { handler: CRM, state: "dead" })).toEqual(["msg_1"]);
      expect(await listed(box, { handler: CREATED, state: "dead" })).toEqual([]);
    });

    test("the latest run of each handler decides in which states a delivery is listed", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", {}, [run(CREATED), run(CRM)]);
      for (const claimed of await box.claim([CREATED, CRM])) await box.finish(claimed, dead);
      const both = [knownHandler(CREATED), knownHandler(CRM)];
      await box.replay("msg_1", "once", both);
      expect(await listed(box, { state: "dead" })).toEqual([]);
      for (const claimed of await box.claim([CREATED, CRM]))
        await box.finish(claimed, claimed.handler === CRM ? dead : done);
      expect(await listed(box, { state: "dead" })).toEqual(["msg_1"]);
      expect(await listed(box, { state: "dead", handler: CRM })).toEqual(["msg_1"]);
      expect(await listed(box, { state: "dead", handler: CREATED })).toEqual([]);
      await box.replay("msg_1", "again", [knownHandler(CRM)]);
      await box.claimAndFinish(done, [CRM]);
      for (const filter of [
        { state: "dead" },
        { state: "dead", subject: "user_1" },
        { state: "dead", since: at(0) },
      ] as const)
        expect(await listed(box, filter)).toEqual([]);
      expect(await listed(box, { state: "done" })).toEqual(["msg_1"]);
      await box.replay("msg_1", "worse", [knownHandler(CREATED)]);
      await box.claimAndFinish(dead);
      expect(await listed(box, { state: "dead" })).toEqual(["msg_1"]);
      // A filter by handler alone matches all of its runs.
      expect(await listed(box, { handler: CREATED })).toEqual(["msg_1"]);
    });

    test("a delivery with a run is not unhandled, whatever added the run", async () => {
      await using box = await emptyBox(open);
      for (const id of ["replayed", "missing", "left"]) await box.accept(id, { subject: id }, []);
      await box.replay("replayed", "again");
      const handler = knownHandler(CREATED);
      const unseen = { filter: { id: "missing", neverSeenBy: handler }, handlers: [handler], stale: false };
      expect(await replayAll(box.inbox, { ...unseen, bulk: true, replay: "", limit: 9 })).toMatchObject({ added: 1 });
      expect(await listed(box, { state: "unhandled" })).toEqual(["left"]);
      expect(await listed(box, { state: "waiting" })).toEqual(["missing", "replayed"]);
    });

    test("selects by time of receipt, inclusive, also when clocks were wrong", async () => {
      await using box = await emptyBox(open);
      for (const [n, second] of [1, 2, 90, 3, 4, -50, 5].entries())
        await box.accept(`n${n}`, { receivedAt: at(second), subject: `s${n}` });
      await box.reopen();
      expect(await listed(box, { since: at(2), until: at(4) })).toEqual(["n4", "n3", "n1"]);
      // A filter by receipt also orders by receipt.
      expect(await listed(box, { since: at(5) })).toEqual(["n2", "n6"]);
      expect(await listed(box, { until: at(1) })).toEqual(["n0", "n5"]);
      expect(await listed(box, { since: at(200) })).toEqual([]);
      expect(await listed(box, { until: at(-60) })).toEqual([]);
      await box.accept("late", { receivedAt: at(-100) });
      expect(await listed(box, { until: at(-60) })).toEqual(["late"]);
      expect(await listed(box)).toEqual(["late", "n6", "n5", "n4", "n3", "n2", "n1", "n0"]);
    });

    test("pages by time of receipt are complete and in order, also when clocks were wrong", async () => {
      await using box = await emptyBox(open);
      const seconds = [5, 5, 1, 9, 5, 3, 5, 9, 2, 5, 7, 5];
      for (const [n, second] of seconds.entries())
        await box.accept(`n${n}`, { receivedAt: at(second), subject: `s${n}` });
      const expected = [...seconds.entries()]
        .filter(([, second]) => second >= 2)
        .toSorted(([a, first], [b, second]) => second - first || b - a)
        .map(([n]) => `n${n}`);
      const found: string[] = [];
      for (let before: number | null = null, more = true; more;) {
        const { deliveries, next } = await box.inbox.list({ since: at(2) }, { before, limit: 3 });
        expect(deliveries.length).toBeLessThanOrEqual(3);
        found.push(...deliveries.map(({ id }) => id));
        [before, more] = [next, next !== null];
      }
      expect(found).toEqual(expected);
    });

    test.each<[string, DeliveryFilter]>([
      ["without a filter", {}],
      ["by a pattern over several events", { type: "user.*" }],
      ["by a state of several handlers", { state: "waiting" }],
      ["by a subject", { subject: "user_1" }],
      ["by a filter without an index", { handler: CREATED, since: at(0) }],
    ])("pages are complete and in order: %s", async (_, filter) => {
      await using box = await emptyBox(open);
      for (let n = 0; n < 30; n += 1)
        await box.accept(`n${n}`, { type: n % 3 ? CREATED : UPDATED }, [run(CREATED), run(UPDATED), run(CRM)]);
      const pages: string[][] = [];
      for (let before: number | null = null, more = true; more;) {
        const { deliveries, next } = await box.inbox.list(filter, { before, limit: 7 });
        pages.push(deliveries.map(({ id }) => id));
        await box.accept(`later_${pages.length}`);
        [before, more] = [next, next !== null];
      }
      expect(pages.flat()).toEqual(Array.from({ length: 30 }, (_, n) => `n${29 - n}`));
      expect(Math.max(...pages.map(({ length }) => length))).toBe(7);
    });

    test("reports that a payload was deleted", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1", { sensitive: true });
      await box.claimAndFinish();
      expect(await box.list()).toMatchObject([{ id: "msg_1", wiped: true }]);
    });

    test("counts attempts", async () => {
      await using box = await emptyBox(open);
      await box.accept("msg_1");
      for (const outcome of [retry(0), postponed(0), released]) await box.claimAndFinish(outcome);
      expect((await box.list())[0]?.runs).toMatchObject([{ attempts: 2 }]);
    });

    test("searches thousands of deliveries without blocking the event loop", async () => {
      await using box = await emptyBox(open);
      await box.accept("old", { subject: "user_old" });
      await box.claimAndFinish(dead);
      const many = Array.from({ length: 3_000 }, (_, n) => box.accept(`n${n}`, { subject: `user_${n}` }, []));
      await Promise.all(many);
      const listing = box.inbox.list({ handler: CREATED, type: "*" }, { before: null, limit: 5 });
      let turns = 0;
      const other = (async () => {
        for (let isFinished = false; !isFinished; turns += 1) {
          void listing.then(() => (isFinished = true));
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
      expect((await listing).deliveries.map(({ id }) => id)).toEqual(["old"]);
      await other;
      expect(turns).toBeGreaterThan(2);
    });
  });
}
