// An inbox and its model, which do the same or fail the test.

import { expect } from "bun:test";

import type { ClaimedRun, Claimer, Inbox, Outcome } from "../../src/inbox/inbox.ts";
import type { RunView } from "../../src/inbox/views.ts";
import { until } from "../until.ts";
import { at, type Clocks, createClocks, delivery, knownHandler, released, replayAll, replayOf, run } from "./box.ts";
import { failCommits } from "./failing-commits.ts";
import { Model, type ModelRun } from "./model.ts";

/** A handler whose file came late: no delivery gets a run of it by itself. */
const LATE = "user.updated/crm";
export const HANDLERS = ["user.created", "user.updated", "user.created/crm", LATE];

export interface Accept {
  id: string;
  type: string;
  subject: string | null;
  time: number;
  sample: boolean;
}

export type Pair = Awaited<ReturnType<typeof openPair>>;

export async function openPair(open: (clocks: Clocks) => Promise<Inbox>) {
  const clocks = createClocks();
  const model = new Model();
  let inbox: Inbox;
  let owners = 0;
  let loaded: ReadonlySet<string> = new Set(HANDLERS);
  let held: ClaimedRun[] = [];
  const ended: ClaimedRun[] = [];
  /** Of the claim with each commit: the slots of each handler, and what started. */
  let slots = 0;
  let started: ClaimedRun[] = [];

  const modelOf = ({ delivery, handler, replay }: ClaimedRun) => model.find(delivery.id, handler, replay)!;
  const handlersOf = (type: string) =>
    HANDLERS.filter((handler) => handler.startsWith(type)).map((handler) =>
      knownHandler(handler, { parked: !loaded.has(handler) }),
    );
  const capacity = (slots: number, exclusive = false) => ({
    slots: new Map([...loaded].map((handler) => [handler, slots])),
    exclusive,
  });
  const claimerOf = (capacity: Claimer["capacity"]): Claimer => ({
    owner: `owner-${owners}`,
    capacity,
    held: () => new Map([...held, ...started].map(({ run, attempt }) => [run, attempt])),
  });

  async function openAsNextOwner() {
    inbox = await open(clocks);
    owners += 1;
    inbox.claimWithEachCommit(
      claimerOf(() => capacity(slots)),
      (claim) => started.push(...claim.runs),
    );
  }

  /** As many as may be claimed and no more: a run that is left out would wait for an unknown time. */
  function expectClaimed(runs: readonly ClaimedRun[], slots: number) {
    const claimable = model.claimable(false);
    for (const handler of loaded) {
      const may = claimable.filter((each) => each.handler === handler);
      const live = may.filter(({ place: [bulk] }) => bulk === 0);
      const claimed = runs.filter((each) => each.handler === handler);
      const claimedLive = claimed.filter((each) => modelOf(each).place[0] === 0);
      expect([handler, claimed.length, claimedLive.length]).toEqual([
        handler,
        Math.min(slots, may.length),
        Math.min(slots, live.length),
      ]);
    }
    begin(runs, claimable);
  }

  function begin(runs: readonly ClaimedRun[], claimable: readonly ModelRun[]) {
    for (const claimed of runs) {
      const expected = modelOf(claimed);
      expect(claimable).toContain(expected);
      expect(claimed.attempt).toBeGreaterThan(expected.attempts);
      const { spent, interrupted, exclusive } = expected;
      expect(claimed).toMatchObject({ spent, interrupted, exclusive, stale: model.isStale(expected) });
      model.begin(expected, claimed);
      held.push(claimed);
    }
  }

  async function finish(claimed: ClaimedRun, outcome: Outcome) {
    held = held.filter((each) => each !== claimed);
    ended.push(claimed);
    expect(await inbox.finish(claimed, outcome)).toBe("recorded");
    model.finish(modelOf(claimed), outcome);
  }

  await openAsNextOwner();
  return {
    model,
    get held() {
      return held;
    },

    /** Each handler has so many slots when `action` commits, which it does once. */
    async withSlots(count: number, action: () => Promise<unknown>) {
      slots = count;
      started = [];
      await action();
      slots = 0;
      const may = (handler: string) => model.claimable(false).filter((each) => each.handler === handler).length;
      const expected = [...loaded].reduce((sum, handler) => sum + Math.min(count, may(handler)), 0);
      await until(`${expected} runs to start`, () => started.length >= expected, 3_000);
      expectClaimed(started.splice(0), count);
    },

    async accept({ id, type, subject, time, sample }: Accept) {
      const runs = handlersOf(type)
        .filter(({ handler }) => handler !== LATE)
        .map(({ event: _, ...each }) => each);
      const { status } = await inbox.accept(delivery(id, { type, subject, at: at(time), sample }), runs);
      expect(status).toBe(model.accept(id, subject, sample, at(time), runs));
    },

    async claim(slots: number, exclusive: boolean) {
      const suspects = model.claimable(true);
      const claim = await inbox.claim(claimerOf(() => capacity(slots, exclusive)));
      if (exclusive) {
        expect(claim.runs).toHaveLength(Math.min(1, suspects.length));
        begin(claim.runs, suspects);
      } else {
        expectClaimed(claim.runs, slots);
        expect(claim.exclusive).toBe(suspects.length > 0);
        expect(claim.next).toBe(model.next([...loaded]));
      }
    },

    finish,

    /** The end of an attempt that has ended changes nothing. */
    async finishAgain(nth: number, outcome: Outcome) {
      const claimed = ended[nth % ended.length];
      if (claimed) expect(await inbox.finish(claimed, outcome)).toBe("superseded");
    },

    async replay(id: string, replay: string) {
      const handlers = handlersOf(id.startsWith("created") ? "user.created" : "user.updated");
      const { added } = await replayAll(inbox, replayOf(id, replay, handlers));
      expect(added).toBe(model.replay(id, replay, handlers));
    },

    /** Only for a handler that is loaded, which callers check before. */
    async addUnseen(stale: boolean, limit: number) {
      if (!loaded.has(LATE)) return;
      const handler = knownHandler(LATE, { event: "user.updated" });
      const selection = { filter: { neverSeenBy: handler }, handlers: [handler], stale };
      const counted = await inbox.countReplay(selection);
      const step = await replayAll(inbox, { ...selection, bulk: true, replay: "", limit });
      expect({ added: step.added, stale: step.stale }).toEqual(model.addUnseen("updated", run(LATE), stale));
      expect(counted).toEqual({ found: step.added, stale: step.stale, wiped: 0, gone: 0, more: false });
    },

    async intervene(nth: number, action: "retryNow" | "giveUp") {
      const each = model.runs[nth % model.runs.length];
      if (!each) return;
      const runs = (await inbox.get(each.delivery))?.runs ?? [];
      const { run } = runs.find(({ handler, replay }) => handler === each.handler && replay === each.replay)!;
      if (action === "giveUp") expect(await inbox.giveUp(run, "enough")).toBe(model.giveUp(each));
      else expect(await inbox.retryNow(run)).toBe(model.retryNow(each));
    },

    async park(handlers: readonly string[]) {
      // Files change only while nothing of them runs: they are read at the start.
      loaded = new Set([...handlers, ...held.map(({ handler }) => handler)]);
      await inbox.park(loaded);
      model.park(loaded);
    },

    async pass(milliseconds: number) {
      clocks.pass(milliseconds);
      model.now += milliseconds;
      await inbox.sweep();
      model.sweep();
    },

    /** The process dies and another one takes over. */
    async crash(outcome: Outcome) {
      await inbox.close();
      await openAsNextOwner();
      const abandoned = await inbox.abandoned(new Set([`owner-${owners}`]));
      expect(abandoned.map(({ run }) => run)).toEqual(held.map(({ run }) => run).toSorted((a, b) => a - b));
      for (const claimed of held.slice()) await finish(claimed, outcome);
    },

    /** The commit of a claim fails but is on the disk: its runs are released before the next claim. */
    async loseClaim(slots: number) {
      const claimer = claimerOf(() => capacity(slots));
      if (model.claimable(false).length === 0) return;
      const lost = await failCommits({ count: 1, durable: true }, () =>
        inbox.claim(claimer).catch((error: unknown) => error),
      );
      expect(lost).toBeInstanceOf(Error);
      await this.compareLost(slots);
    },

    /** The lost runs are running on the disk, and are claimed again with a new attempt, at no cost. */
    async compareLost(slots: number) {
      const running: ModelRun[] = [];
      for (const each of model.claimable(false)) {
        const view = (await inbox.get(each.delivery))!.runs.find(
          ({ handler, replay }) => handler === each.handler && replay === each.replay,
        );
        if (view?.state === "running") running.push(each);
      }
      for (const each of running) {
        each.attempts += 1;
        each.state = "running";
        model.finish(each, released);
      }
      await this.claim(slots, false);
    },

    /** Every delivery and every run is as in the model, and no two runs of an order key run. */
    async compare() {
      const running = model.runs.filter(({ state }) => state === "running").map(({ orderKey }) => orderKey);
      const views = await Promise.all([...model.deliveries.keys()].map((id) => inbox.get(id)));
      const found = views.map((view) => [
        `${view?.id} ×${view?.receipts}`,
        ...(view?.runs ?? []).map((each) => describeRun(each, each.due)),
      ]);
      const expected = [...model.deliveries].map(([id, { receipts }]) => [
        `${id} ×${receipts}`,
        ...model.runs
          .filter((each) => each.delivery === id)
          .map((each) => describeRun(each, Math.max(0, each.due - model.now))),
      ]);
      expect({ running: [...new Set(running)], deliveries: found }).toEqual({ running, deliveries: expected });
    },

    close: () => inbox.close(),
  };
}

function describeRun(
  { handler, replay, state, parked }: Pick<RunView, "handler" | "replay" | "state" | "parked">,
  due: number | null,
): string {
  return `${handler} ${replay} ${state}${state === "waiting" ? `${parked ? " parked" : ""} ${due}` : ""}`;
}
