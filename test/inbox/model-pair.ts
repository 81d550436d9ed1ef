// Executes each step on an inbox and on its model, and fails the test when they differ.

import { expect } from "bun:test";

import type { ClaimedRun, Claimer, Inbox, Outcome } from "../../src/inbox/inbox.ts";
import type { RunView } from "../../src/inbox/views.ts";
import { until } from "../until.ts";
import { at, type Clocks, createClocks, delivery, knownHandler, released, replayAll, replayOf, run } from "./box.ts";
import { failCommits } from "./failing-commits.ts";
import { Model, type ModelRun } from "./model.ts";

/** A handler that was added later: accepting a delivery adds no run of it. */
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
  /** Of the claim with each commit: the slots per handler, and the runs that it started. */
  let slots = 0;
  let started: ClaimedRun[] = [];

  const modelOf = ({ delivery, handler, replay }: ClaimedRun) => model.find(delivery.id, handler, replay)!;
  const viewOf = async (run: ModelRun) =>
    (await inbox.get(run.delivery))?.runs.find(
      ({ handler, replay }) => handler === run.handler && replay === run.replay,
    );
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

  /** Expects exactly the runs that may be claimed: a run that is left out would wait for an unknown time. */
  function expectClaimed(runs: readonly ClaimedRun[], slots: number) {
    const claimable = model.claimable(false);
    for (const handler of loaded) {
      const candidates = claimable.filter((run) => run.handler === handler);
      const live = candidates.filter(({ place: [bulk] }) => bulk === 0);
      const claimed = runs.filter((run) => run.handler === handler);
      const claimedLive = claimed.filter((run) => modelOf(run).place[0] === 0);
      expect([handler, claimed.length, claimedLive.length]).toEqual([
        handler,
        Math.min(slots, candidates.length),
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
    held = held.filter((run) => run !== claimed);
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

    /** Runs `action`, which commits once, while each handler has `count` slots. */
    async withSlots(count: number, action: () => Promise<unknown>) {
      slots = count;
      started = [];
      await action();
      slots = 0;
      const countOf = (handler: string) => model.claimable(false).filter((run) => run.handler === handler).length;
      const expected = [...loaded].reduce((sum, handler) => sum + Math.min(count, countOf(handler)), 0);
      await until(`${expected} runs to start`, () => started.length >= expected, 3_000);
      expectClaimed(started.splice(0), count);
    },

    async accept({ id, type, subject, time, sample }: Accept) {
      const runs = handlersOf(type)
        .filter(({ handler }) => handler !== LATE)
        .map(({ event: _, ...newRun }) => newRun);
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
        expect(claim.exclusive !== null).toBe(suspects.length > 0);
        expect(claim.next).toBe(model.next([...loaded]));
      }
    },

    finish,

    /** A second outcome of an attempt changes nothing. */
    async finishAgain(nth: number, outcome: Outcome) {
      const claimed = ended[nth % ended.length];
      if (claimed) expect(await inbox.finish(claimed, outcome)).toBe("superseded");
    },

    async replay(id: string, replay: string) {
      const handlers = handlersOf(id.startsWith("created") ? "user.created" : "user.updated");
      const { added } = await replayAll(inbox, replayOf(id, replay, handlers));
      expect(added).toBe(model.replay(id, replay, handlers));
    },

    /** Does nothing while the handler is not loaded: callers of the inbox check that first. */
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
      const expected = model.runs[nth % model.runs.length];
      if (!expected) return;
      const { run } = (await viewOf(expected))!;
      if (action === "giveUp") expect(await inbox.giveUp(run, "enough")).toBe(model.giveUp(expected));
      else expect(await inbox.retryNow(run)).toBe(model.retryNow(expected));
    },

    async park(handlers: readonly string[]) {
      // A handler with a running run stays loaded: its code is read at the start of the run.
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

    /** The process dies, and another one takes over. */
    async crash(outcome: Outcome) {
      await inbox.close();
      await openAsNextOwner();
      const abandoned = await inbox.abandoned(new Set([`owner-${owners}`]));
      expect(abandoned.map(({ run }) => run)).toEqual(held.map(({ run }) => run).toSorted((a, b) => a - b));
      for (const claimed of held.slice()) await finish(claimed, outcome);
    },

    /** The commit of a claim fails, but is on the disk: its runs are released before the next claim. */
    async loseClaim(slots: number) {
      const claimer = claimerOf(() => capacity(slots));
      if (model.claimable(false).length === 0) return;
      const lost = await failCommits({ count: 1, durable: true }, () =>
        inbox.claim(claimer).catch((error: unknown) => error),
      );
      expect(lost).toBeInstanceOf(Error);
      await this.compareLost(slots);
    },

    /** The lost runs are running on the disk. They are claimed again with a new attempt, and the lost one is not counted. */
    async compareLost(slots: number) {
      const running: ModelRun[] = [];
      for (const run of model.claimable(false)) if ((await viewOf(run))?.state === "running") running.push(run);
      for (const run of running) {
        run.attempts += 1;
        run.state = "running";
        model.finish(run, released);
      }
      await this.claim(slots, false);
    },

    /** Every delivery and every run is as in the model, and each order key has at most one running run. */
    async compare() {
      const running = model.runs.filter(({ state }) => state === "running").map(({ orderKey }) => orderKey);
      const views = await Promise.all([...model.deliveries.keys()].map((id) => inbox.get(id)));
      const found = views.map((view) => [
        `${view?.id} ×${view?.receipts}`,
        ...(view?.runs ?? []).map((run) => describeRun(run, run.due)),
      ]);
      const expected = [...model.deliveries].map(([id, { receipts }]) => [
        `${id} ×${receipts}`,
        ...model.runs
          .filter((run) => run.delivery === id)
          .map((run) => describeRun(run, Math.max(0, run.due - model.now))),
      ]);
      const problems = (await inbox.problems.list("open", 99)).map(({ id, failures, runs: { dead, retrying } }) => {
        return { id, failures, dead, retrying };
      });
      const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
      expect(problems.toSorted(byId)).toEqual(model.openProblems().toSorted(byId));
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
