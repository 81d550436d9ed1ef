// The rules of runs in plain code, without storage, batches or indexes. The model test compares an inbox with it.

import type { ClaimedRun, NewRun, Outcome, RunState } from "../../src/inbox/inbox.ts";
import { DAY } from "./box.ts";

export interface ModelRun extends NewRun {
  delivery: string;
  replay: string;
  orderKey: string;
  /** Live before bulk, then event time, then arrival of the delivery, then number of the run. */
  place: [bulk: number, at: number, arrival: number, number: number];
  state: RunState;
  due: number;
  parkedAt: number;
  exclusive: boolean;
  attempts: number;
  spent: number;
  interrupted: number;
  problem: string | null;
}

/** The numbers of a problem, computed from runs. */
export interface ModelProblem {
  id: string;
  failures: number;
  dead: number;
  retrying: number;
}

interface ModelDelivery {
  at: number;
  arrival: number;
  /** The part of its runs' order keys after the lane. */
  order: string;
  receipts: number;
}

export class Model {
  now = 0;
  readonly deliveries = new Map<string, ModelDelivery>();
  readonly runs: ModelRun[] = [];
  /** Failed attempts by problem. */
  readonly failures = new Map<string, number>();
  /** The latest event time that is done, by order key. */
  readonly #doneAt = new Map<string, number>();

  accept(id: string, subject: string | null, sample: boolean, at: number, runs: readonly NewRun[]) {
    const known = this.deliveries.get(id);
    if (known) {
      known.receipts += 1;
      return "duplicate";
    }
    const order = subject === null ? `delivery ${id}` : `${sample ? "sample" : "subject"} ${subject}`;
    this.deliveries.set(id, { at, arrival: this.deliveries.size, order, receipts: 1 });
    this.#add(id, "", runs);
    return "accepted";
  }

  /** Returns how many runs were added. */
  replay(id: string, replay: string, runs: readonly NewRun[]): number {
    if (!this.deliveries.has(id)) return 0;
    const fresh = runs.filter(({ handler }) => !this.find(id, handler, replay));
    for (const run of this.#waiting())
      if (run.delivery === id && fresh.some(({ handler }) => handler === run.handler)) this.#makeDue(run);
    return this.#add(id, replay, fresh);
  }

  /** The deliveries of `type` that the handler never saw get their run, stale ones only if requested. */
  addUnseen(type: string, { handler, lane }: NewRun, stale: boolean): { added: number; stale: number } {
    const count = { added: 0, stale: 0 };
    for (const [id, { at, order }] of this.deliveries) {
      if (!id.startsWith(type) || this.find(id, handler, "")) continue;
      const isStale = (this.#doneAt.get(`${lane} ${order}`) ?? -Infinity) > at;
      if (isStale && !stale) count.stale += 1;
      else {
        for (const run of this.#waiting()) if (run.delivery === id && run.handler === handler) this.#makeDue(run);
        count.added += this.#add(id, "", [{ handler, lane, parked: false }], 1);
      }
    }
    return count;
  }

  #add(id: string, replay: string, runs: readonly NewRun[], bulk = 0): number {
    const { at, arrival, order } = this.deliveries.get(id)!;
    for (const run of runs) {
      const latest = this.#latest(id, run.handler);
      const problem = latest && isOpen(latest) ? latest.problem : null;
      if (latest && problem) latest.problem = null;
      this.runs.push({
        ...run,
        delivery: id,
        replay,
        orderKey: `${run.lane} ${order}`,
        place: [bulk, at, arrival, this.runs.length],
        state: "waiting",
        due: this.now,
        parkedAt: this.now,
        exclusive: false,
        attempts: 0,
        spent: 0,
        interrupted: 0,
        problem,
      });
    }
    return runs.length;
  }

  #latest(id: string, handler: string): ModelRun | undefined {
    return this.runs.findLast((run) => run.delivery === id && run.handler === handler);
  }

  /** The problems with unfinished or dead runs. */
  openProblems(): ModelProblem[] {
    const byProblem = Map.groupBy(this.runs.filter(isOpen), ({ problem }) => problem);
    byProblem.delete(null);
    return [...byProblem].map(([id, runs]) => {
      const dead = runs.filter(({ state }) => state === "dead").length;
      return { id: id!, failures: this.failures.get(id!)!, dead, retrying: runs.length - dead };
    });
  }

  find(id: string, handler: string, replay: string): ModelRun | undefined {
    return this.runs.find((run) => run.delivery === id && run.handler === handler && run.replay === replay);
  }

  #waiting = () => this.runs.filter(({ state }) => state === "waiting");

  #makeDue(run: ModelRun) {
    run.due = Math.min(run.due, this.now);
  }

  /** Whether a run is the head: no run of its order key is running, and no earlier one is waiting without being parked. */
  #isHead(candidate: ModelRun): boolean {
    if (candidate.state !== "waiting" || candidate.parked) return false;
    return !this.runs.some(
      (run) =>
        run.orderKey === candidate.orderKey &&
        (run.state === "running" || (run.state === "waiting" && !run.parked && isBefore(run, candidate))),
    );
  }

  /** The runs that may be claimed now. */
  claimable(exclusive: boolean): ModelRun[] {
    return this.runs.filter((run) => this.#isHead(run) && run.due <= this.now && run.exclusive === exclusive);
  }

  /** The time until the next head of one of these handlers is due. Later exclusive runs do not count while one is due. */
  next(handlers: readonly string[]): number | null {
    const hasExclusive = this.claimable(true).length > 0;
    const later = this.runs.filter(
      (run) =>
        this.#isHead(run) && run.due > this.now && handlers.includes(run.handler) && !(run.exclusive && hasExclusive),
    );
    return later.length === 0 ? null : Math.min(...later.map(({ due }) => due - this.now));
  }

  isStale({ orderKey, place }: ModelRun): boolean {
    return (this.#doneAt.get(orderKey) ?? -Infinity) > place[1];
  }

  begin(run: ModelRun, { attempt }: ClaimedRun) {
    Object.assign(run, { state: "running", attempts: attempt });
  }

  finish(run: ModelRun, outcome: Outcome): void {
    const { kind } = outcome;
    if ("problem" in outcome && outcome.problem) {
      const { id } = outcome.problem;
      this.failures.set(id, (this.failures.get(id) ?? 0) + 1);
      if (this.#latest(run.delivery, run.handler) === run) run.problem = id;
    }
    if (kind === "done")
      this.#doneAt.set(run.orderKey, Math.max(this.#doneAt.get(run.orderKey) ?? -Infinity, run.place[1]));
    if (kind === "done" || kind === "dead" || kind === "skipped") {
      run.state = kind;
      return;
    }
    run.state = "waiting";
    run.due = this.now + ("delay" in outcome ? outcome.delay : 0);
    if (kind === "released" || kind === "postponed") return;
    run.spent += 1;
    run.interrupted += Number(kind === "interrupted");
    run.exclusive = outcome.exclusive;
  }

  retryNow(run: ModelRun): boolean {
    if (run.state !== "waiting" || run.parked) return false;
    this.#makeDue(run);
    return true;
  }

  giveUp(run: ModelRun): boolean {
    if (run.state !== "waiting") return false;
    run.state = run.parked ? "skipped" : "dead";
    return true;
  }

  park(loaded: ReadonlySet<string>): void {
    for (const run of this.#waiting()) {
      if (run.parked !== loaded.has(run.handler)) continue;
      this.#makeDue(run);
      Object.assign(run, { parked: !run.parked, parkedAt: this.now });
    }
  }

  sweep(): void {
    for (const run of this.#waiting()) if (run.parked && run.parkedAt <= this.now - DAY) run.state = "skipped";
  }
}

function isOpen({ state }: ModelRun): boolean {
  return state === "waiting" || state === "running" || state === "dead";
}

function isBefore({ place: a }: ModelRun, { place: b }: ModelRun): boolean {
  const index = a.findIndex((part, n) => part !== b[n]);
  return index >= 0 && a[index]! < b[index]!;
}
