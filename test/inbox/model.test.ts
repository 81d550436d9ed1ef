// Random histories of an inbox beside a model of it in a few lines of plain code: whatever happens in whatever order,
// the inbox does what the model does. A failure prints the seed and the shortest history that shows it.

import { expect, test } from "bun:test";

import fc from "fast-check";

import {
  type Inbox,
  lineOf,
  type MissingStep,
  type NewRun,
  type Outcome,
  type RunState,
  type RunView,
  type Ticket,
} from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { temporaryFolder } from "../harness.ts";
import {
  at,
  createClocks,
  DAY,
  dead,
  delivery,
  done,
  HOUR,
  interrupted,
  record,
  released,
  retry,
  run,
  SECOND,
  skipped,
} from "./contract.ts";

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const HISTORIES = 60;
// Also for the search for the shortest history.
const LONGEST_MS = 30_000;
/** No delivery gets a run of it by itself: its file came late. */
const LATE = "user.updated/crm";
const HANDLERS = ["user.created", "user.updated", "user.created/crm", LATE];

interface ModelRun extends NewRun {
  delivery: string;
  replay: string;
  line: string | null;
  /** Live before bulk, then event time, then arrival of the delivery, then number of the run. */
  place: [bulk: number, at: number, arrival: number, number: number];
  state: RunState;
  due: number;
  parkedAt: number;
  alone: boolean;
  attempts: number;
  spent: number;
  interrupted: number;
}

type Word = "retryNow" | "giveUp";

interface ModelDelivery {
  at: number;
  arrival: number;
  line: string | null;
  receipts: number;
}

/** The rules of runs, without storage, batches or indexes. */
class Model {
  now = 0;
  readonly deliveries = new Map<string, ModelDelivery>();
  readonly runs: ModelRun[] = [];
  readonly #marks = new Map<string, number>();

  accept(id: string, line: string | null, time: number, runs: readonly NewRun[]): "accepted" | "duplicate" {
    const known = this.deliveries.get(id);
    if (known) {
      known.receipts += 1;
      return "duplicate";
    }
    this.deliveries.set(id, { at: time, arrival: this.deliveries.size, line, receipts: 1 });
    this.#add(id, "", runs);
    return "accepted";
  }

  replay(id: string, replay: string, runs: readonly NewRun[]): number | null {
    if (!this.deliveries.has(id)) return null;
    for (const each of this.#waiting())
      if (each.delivery === id && runs.some(({ handler }) => handler === each.handler))
        each.due = Math.min(each.due, this.now);
    return this.#add(id, replay, runs);
  }

  /** The deliveries of `type` that the handler never saw get their run, overtaken ones only if asked for. */
  addMissing(type: string, { handler, lane }: NewRun, stale: boolean): { added: number; stale: number } {
    const count = { added: 0, stale: 0 };
    for (const [id, { at, line }] of this.deliveries) {
      if (!id.startsWith(type) || this.find(id, handler, "")) continue;
      const overtaken = line !== null && (this.#marks.get(`${lane} ${line}`) ?? -Infinity) > at;
      if (overtaken && !stale) count.stale += 1;
      else count.added += this.#add(id, "", [{ handler, lane, parked: false }], 1);
    }
    return count;
  }

  #add(id: string, replay: string, runs: readonly NewRun[], bulk = 0): number {
    const { at, arrival, line } = this.deliveries.get(id)!;
    const fresh = runs.filter(({ handler }) => !this.find(id, handler, replay));
    for (const each of fresh)
      this.runs.push({
        ...each,
        delivery: id,
        replay,
        line,
        place: [bulk, at, arrival, this.runs.length],
        state: "waiting",
        due: this.now,
        parkedAt: this.now,
        alone: false,
        attempts: 0,
        spent: 0,
        interrupted: 0,
      });
    return fresh.length;
  }

  find(id: string, handler: string, replay: string): ModelRun | undefined {
    return this.runs.find((each) => each.delivery === id && each.handler === handler && each.replay === replay);
  }

  #waiting = () => this.runs.filter(({ state }) => state === "waiting");

  /** Whether it is its line's turn: nothing of the line runs, and nothing that is not parked comes before it. */
  #isHead(candidate: ModelRun): boolean {
    if (candidate.state !== "waiting" || candidate.parked) return false;
    if (candidate.line === null) return true;
    const line = this.runs.filter(({ lane, line }) => lane === candidate.lane && line === candidate.line);
    const ahead = line.some(
      (each) => each.state === "running" || (each.state === "waiting" && !each.parked && before(each, candidate)),
    );
    return !ahead;
  }

  /** What may be begun now. */
  /** Nothing else of its line is to come. */
  isFirst({ lane, line, delivery }: ModelRun): boolean {
    const open = this.runs.filter(({ state, parked }) => (state === "waiting" || state === "running") && !parked);
    return (
      line === null || open.every((each) => each.lane !== lane || each.line !== line || each.delivery === delivery)
    );
  }

  eligible(alone: boolean): ModelRun[] {
    return this.runs.filter((each) => this.#isHead(each) && each.due <= this.now && each.alone === alone);
  }

  next(handlers: readonly string[]): number | null {
    const later = this.runs.filter(
      (each) => this.#isHead(each) && each.due > this.now && handlers.includes(each.handler),
    );
    return later.length === 0 ? null : Math.min(...later.map(({ due }) => due - this.now));
  }

  stale({ lane, line, place }: ModelRun): boolean {
    return line !== null && (this.#marks.get(`${lane} ${line}`) ?? -Infinity) > place[1];
  }

  settle(ended: ModelRun, outcome: Outcome): void {
    const { kind } = outcome;
    if (kind === "done" && ended.line !== null) {
      const key = `${ended.lane} ${ended.line}`;
      this.#marks.set(key, Math.max(this.#marks.get(key) ?? -Infinity, ended.place[1]));
    }
    if (kind === "done" || kind === "dead" || kind === "skipped") {
      ended.state = kind;
      return;
    }
    ended.state = "waiting";
    ended.due = this.now + ("delay" in outcome ? outcome.delay : 0);
    if (kind === "released" || kind === "postponed") return;
    ended.spent += 1;
    ended.interrupted += Number(kind === "interrupted");
    ended.alone = outcome.alone;
  }

  /** A person's word about a run: true when it changes anything. */
  byHand(each: ModelRun, word: Word): boolean {
    if (each.state !== "waiting" || (word === "retryNow" && each.parked)) return false;
    if (word === "retryNow") each.due = Math.min(each.due, this.now);
    else each.state = each.parked ? "skipped" : "dead";
    return true;
  }

  park(loaded: ReadonlySet<string>): void {
    for (const each of this.#waiting()) {
      if (each.parked !== loaded.has(each.handler)) continue;
      Object.assign(each, { parked: !each.parked, parkedAt: this.now, due: Math.min(each.due, this.now) });
    }
  }

  sweep(): void {
    for (const each of this.#waiting()) if (each.parked && each.parkedAt <= this.now - DAY) each.state = "skipped";
  }
}

function before({ place: a }: ModelRun, { place: b }: ModelRun): boolean {
  const differs = a.findIndex((part, index) => part !== b[index]);
  return differs >= 0 && a[differs]! < b[differs]!;
}

/** An inbox and its model, which go the same way or fail the test. */
async function openPair(folder: string) {
  const clocks = createClocks();
  const model = new Model();
  let inbox: Inbox = await openSqliteInbox(folder, clocks);
  let owners = 1;
  let loaded: ReadonlySet<string> = new Set(HANDLERS);
  let held: Ticket[] = [];
  const over: Ticket[] = [];

  const owner = () => `owner-${owners}`;
  const modelOf = ({ delivery, handler, replay }: Ticket) => model.find(delivery.id, handler, replay)!;
  const handlersOf = (type: string) =>
    HANDLERS.filter((handler) => handler.startsWith(type)).map((handler) =>
      run(handler, { parked: !loaded.has(handler) }),
    );

  async function settle(ticket: Ticket, outcome: Outcome) {
    held = held.filter((each) => each !== ticket);
    over.push(ticket);
    expect(await inbox.settle(ticket, outcome)).toBe("settled");
    model.settle(modelOf(ticket), outcome);
  }

  return {
    model,
    get held() {
      return held;
    },

    async accept({ id, type, subject, time, sample, begins }: Accept) {
      const stored = delivery(id, { type, subject, at: at(time), sample });
      const runs = handlersOf(type).filter(({ handler }) => handler !== LATE);
      const begin = begins ? { owner: owner(), handlers: [...loaded] } : undefined;
      const accepted = await inbox.accept(stored, runs, begin);
      expect(accepted.status).toBe(model.accept(id, lineOf(subject, sample), at(time), runs));
      if (accepted.status === "duplicate") return;
      const tickets = accepted.begun ?? [];
      const may = model.eligible(false).filter((each) => each.delivery === id);
      for (const ticket of tickets) expect(may).toContain(modelOf(ticket));
      // Only where an older event comes late, and takes the place of one that waits, is it left to be claimed.
      if (begins) for (const each of may) if (model.isFirst(each)) expect(tickets.map(modelOf)).toContain(each);
      for (const ticket of tickets) {
        const expected = modelOf(ticket);
        expect(ticket).toMatchObject({ attempt: 1, spent: 0, stale: model.stale(expected) });
        Object.assign(expected, { state: "running", attempts: ticket.attempt });
        held.push(ticket);
      }
    },

    async claim(room: number, alone: boolean) {
      const rooms = new Map([...loaded].map((handler) => [handler, room]));
      const [suspects, innocent] = [model.eligible(true), model.eligible(false)];
      const claim = await inbox.claim(owner(), rooms, alone);

      const allowed = alone ? suspects : innocent;
      for (const ticket of claim.tickets) {
        const expected = modelOf(ticket);
        expect(allowed).toContain(expected);
        expect(ticket.attempt).toBeGreaterThan(expected.attempts);
        const { spent, interrupted, alone } = expected;
        expect(ticket).toMatchObject({ spent, interrupted, alone, stale: model.stale(expected) });
        Object.assign(expected, { state: "running", attempts: ticket.attempt });
        held.push(ticket);
      }
      // As many as may go and no more: what could not go at once would wait for nobody knows what.
      const takes = (handler: string) => claim.tickets.filter((ticket) => ticket.handler === handler).length;
      if (alone) expect(claim.tickets).toHaveLength(Math.min(1, suspects.length));
      else
        for (const handler of loaded) {
          const may = innocent.filter((each) => each.handler === handler).length;
          expect(takes(handler)).toBe(Math.min(room, may));
          const live = innocent.filter((each) => each.handler === handler && each.place[0] === 0).length;
          const liveTaken = claim.tickets.filter((each) => each.handler === handler && modelOf(each).place[0] === 0);
          expect(liveTaken).toHaveLength(Math.min(room, live));
        }
      expect(claim.alone).toBe(!alone && suspects.length > 0);
      expect(claim.next).toBe(model.next([...loaded]));
    },

    settle,

    /** Words about an attempt that is over change nothing. */
    async settleLate(nth: number, outcome: Outcome) {
      const ticket = over[nth % over.length];
      if (ticket) expect(await inbox.settle(ticket, outcome)).toBe("lost");
    },

    async replay(id: string, replay: string) {
      const runs = handlersOf(id.startsWith("created") ? "user.created" : "user.updated");
      expect(await inbox.replay(id, replay, runs)).toBe(model.replay(id, replay, runs));
    },

    /** Only through a handler that is loaded: that is checked before. */
    async addMissing(stale: boolean, limit: number) {
      if (!loaded.has(LATE)) return;
      const query = { handler: LATE, lane: run(LATE).lane, event: "user.updated", since: null, stale };
      const counted = await inbox.missing(query);
      const came = { added: 0, stale: 0 };
      for (let after: number | null = 0; after !== null;) {
        const step: MissingStep = await inbox.addMissing(query, after, limit);
        came.added += step.added;
        came.stale += step.stale;
        after = step.next;
      }
      expect(came).toEqual(model.addMissing("updated", run(LATE), stale));
      expect(counted).toEqual({ found: came.added, stale: came.stale, wiped: 0, more: false });
    },

    async byHand(nth: number, word: Word) {
      const each = model.runs[nth % model.runs.length];
      if (!each) return;
      const runs = (await inbox.get(each.delivery))?.runs ?? [];
      const { run } = runs.find(({ handler, replay }) => handler === each.handler && replay === each.replay)!;
      const changed = word === "giveUp" ? inbox.giveUp(run, "enough") : inbox.retryNow(run);
      expect(await changed).toBe(model.byHand(each, word));
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
      inbox = await openSqliteInbox(folder, clocks);
      owners += 1;
      const orphans = await inbox.orphans(owner());
      const number = (ticket: Ticket) => ticket.run;
      expect(orphans.map(number)).toEqual(held.map(number).toSorted((a, b) => a - b));
      for (const ticket of held.slice()) await settle(ticket, outcome);
    },

    /** The answer of a claim got lost. */
    async reconcile(nth: number) {
      const lost = held[nth % held.length];
      const rest = held.filter((ticket) => ticket !== lost);
      expect(await inbox.reconcile(owner(), new Set(rest.map((ticket) => ticket.run)))).toBe(lost ? 1 : 0);
      if (!lost) return;
      model.settle(modelOf(lost), released);
      over.push(lost);
      held = rest;
    },

    /** Every delivery and every run is as the model has it, and of no line two run. */
    async compare() {
      const running = model.runs.filter(({ state, line }) => state === "running" && line !== null);
      const lines = running.map(({ lane, line }) => `${lane} ${line}`);
      const views = await Promise.all([...model.deliveries.keys()].map((id) => inbox.get(id)));
      const seen = views.map((view) => [
        `${view?.id} ×${view?.receipts}`,
        ...(view?.runs ?? []).map((each) => describeRun(each, each.due)),
      ]);
      const expected = [...model.deliveries].map(([id, { receipts }]) => [
        `${id} ×${receipts}`,
        ...model.runs
          .filter((each) => each.delivery === id)
          .map((each) => describeRun(each, Math.max(0, each.due - model.now))),
      ]);
      expect({ lines: [...new Set(lines)], deliveries: seen }).toEqual({ lines, deliveries: expected });
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

interface Accept {
  id: string;
  type: string;
  subject: string | null;
  time: number;
  sample: boolean;
  /** There are free slots: what may go begins in the same commit. */
  begins: boolean;
}

type Pair = Awaited<ReturnType<typeof openPair>>;
type Step = { take: (pair: Pair) => Promise<void>; [fc.toStringMethod]: () => string };

const some = <const T>(...values: T[]) => fc.constantFrom(...values);
const delays = some(0, 5 * SECOND, HOUR);
const outcomes: fc.Arbitrary<Outcome> = fc.oneof(
  { weight: 4, arbitrary: some(done) },
  { weight: 4, arbitrary: fc.tuple(delays, fc.boolean()).map(([delay, alone]) => retry(delay, alone)) },
  some(dead, skipped, released),
  fc.tuple(delays, fc.boolean()).map(([delay, alone]) => interrupted(delay, alone)),
  delays.map((delay): Outcome => ({ kind: "postponed", record, delay })),
);
const ids = fc.tuple(some("created", "updated"), fc.nat(12)).map(([type, number]) => `${type}_${number}`);
const accepts: fc.Arbitrary<Accept> = fc
  .tuple(ids, some("user_1", "user_1", "user_2", null), fc.nat(5), some(false, false, true), fc.boolean())
  .map(([id, subject, time, sample, begins]) => ({
    id,
    type: `user.${id.split("_")[0]}`,
    subject,
    time,
    sample,
    begins,
  }));

const step = <T>(says: string, values: fc.Arbitrary<T>, take: (pair: Pair, value: T) => Promise<unknown>) =>
  values.map((value): Step => ({
    take: async (pair) => void (await take(pair, value)),
    [fc.toStringMethod]: () => `\n  ${says} ${JSON.stringify(value)}`,
  }));

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: step("accept", accepts, (pair, accept) => pair.accept(accept)) },
  {
    weight: 3,
    arbitrary: step("accept at once", fc.array(accepts, { minLength: 2, maxLength: 6 }), (pair, batch) =>
      Promise.all(batch.map((accept) => pair.accept(accept))),
    ),
  },
  { weight: 8, arbitrary: step("claim", some(1, 3), (pair, room) => pair.claim(room, false)) },
  { weight: 2, arbitrary: step("claim alone", some(3), (pair, room) => pair.claim(room, true)) },
  {
    weight: 8,
    arbitrary: step("settle", fc.tuple(fc.nat(20), outcomes), async (pair, [nth, outcome]) => {
      const ticket = pair.held[nth % pair.held.length];
      if (ticket) await pair.settle(ticket, outcome);
    }),
  },
  step("settle late", fc.tuple(fc.nat(20), outcomes), (pair, [nth, outcome]) => pair.settleLate(nth, outcome)),
  {
    weight: 2,
    arbitrary: step("replay", fc.tuple(ids, some("a", "b")), (pair, [id, replay]) => pair.replay(id, replay)),
  },
  {
    weight: 2,
    arbitrary: step("add missing", fc.tuple(fc.boolean(), some(1, 3, 500)), (pair, [stale, limit]) =>
      pair.addMissing(stale, limit),
    ),
  },
  step("by hand", fc.tuple(fc.nat(50), some<Word>("retryNow", "giveUp")), (pair, [nth, word]) =>
    pair.byHand(nth, word),
  ),
  { weight: 2, arbitrary: step("park", fc.subarray(HANDLERS), (pair, loaded) => pair.park(loaded)) },
  { weight: 3, arbitrary: step("pass", some(SECOND, 5 * SECOND, HOUR, DAY), (pair, time) => pair.pass(time)) },
  step("crash", some(interrupted(0), interrupted(5 * SECOND, true), dead), (pair, outcome) => pair.crash(outcome)),
  step("reconcile", fc.nat(20), (pair, nth) => pair.reconcile(nth)),
);

test(
  "whatever happens to it, the inbox does what its rules say, and everything ends",
  async () => {
    let taken = 0;
    const history = fc.array(steps, { minLength: 20, maxLength: 120, size: "max" });
    await fc.assert(
      fc.asyncProperty(history, async (steps) => {
        await using folder = await temporaryFolder();
        const pair = await openPair(folder.path);
        try {
          for (const { take } of steps) {
            await take(pair);
            await pair.compare();
            taken += 1;
          }
          await drain(pair);
        } finally {
          await pair.close();
        }
      }),
      { seed: SEED, numRuns: HISTORIES, interruptAfterTimeLimit: LONGEST_MS, includeErrorInReport: true },
    );
    console.log(`seed ${SEED}: ${HISTORIES} histories, ${taken} steps`);
  },
  2 * LONGEST_MS,
);

/** With every file loaded and every attempt going well, all that was accepted comes to its end. */
async function drain(pair: Pair) {
  await pair.park(HANDLERS);
  const open = () => pair.model.runs.filter(({ state }) => state === "waiting" || state === "running").length;
  for (let rounds = 0; open() > 0; rounds += 1) {
    expect(rounds).toBeLessThan(1_000);
    for (const ticket of pair.held.slice()) await pair.settle(ticket, done);
    await pair.claim(3, false);
    await pair.claim(3, true);
    if (pair.held.length === 0) await pair.pass(HOUR);
  }
  await pair.compare();
}
