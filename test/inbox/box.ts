// Helpers for tests of inboxes: an inbox in a temporary directory with clocks that the test controls, and deliveries, runs,
// outcomes and claimers for it.

import { expect } from "bun:test";

import type {
  AttemptRecord,
  Claim,
  ClaimedRun,
  Claimer,
  Inbox,
  NewDelivery,
  NewRun,
  Outcome,
} from "../../src/inbox/inbox.ts";
import type {
  DeliveryFilter,
  DeliverySummary,
  KnownHandler,
  ReplayStep,
  ReplayStepRequest,
  RunView,
} from "../../src/inbox/views.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { until } from "../until.ts";

/** The clocks that an inbox reads. */
export interface Clocks {
  wallClock: () => number;
  monotonic: () => number;
}

/** Opens an inbox whose state is stored in `folder`, so that opening it there again restores the state. */
export type OpenInbox = (folder: string, clocks: Clocks) => Promise<Inbox>;

export const SECOND = 1_000;
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
/** Event times: `at(1)` is a second after `at(0)`. */
export const at = (seconds: number) => Date.UTC(2026, 0, 1) + seconds * SECOND;

/** Clocks that only move when the test moves them. `jump` sets the wall clock alone, as a wrong time server does. */
export function createClocks(wall = Date.UTC(2026, 0, 2)) {
  let monotonic = 5_000;
  return {
    wallClock: () => wall,
    monotonic: () => monotonic,
    pass(milliseconds: number) {
      wall += milliseconds;
      monotonic += milliseconds;
    },
    jump(to: number) {
      wall = to;
    },
  };
}

export function delivery(id: string, overrides: Partial<NewDelivery> = {}): NewDelivery {
  return {
    id,
    type: "user.created",
    subject: "user_1",
    at: at(0),
    sample: false,
    sensitive: false,
    receivedAt: at(1),
    headers: { "content-type": "application/json" },
    body: new TextEncoder().encode(`{"id":"${id}"}`),
    ...overrides,
  };
}

/** `user.created` runs in lane `user`, `user.created/crm` in `user/crm`. */
export function run(handler: string, overrides: Partial<NewRun> = {}): NewRun {
  const [event = "", name] = handler.split("/");
  const kind = event.slice(0, event.indexOf("."));
  return { handler, lane: name ? `${kind}/${name}` : kind, parked: false, ...overrides };
}

/** The same handler with its event. */
export function knownHandler(handler: string, overrides: Partial<KnownHandler> = {}): KnownHandler {
  return { ...run(handler), event: handler.split("/")[0]!, ...overrides };
}

export const record: AttemptRecord = { startedAt: at(2), took: 3 };
/** A problem by its name: equal names are equal problems. */
export const problemKey = (name: string) => ({
  id: `p_${name}`,
  name: "TypeError",
  message: `${name} of …`,
  place: "handlers/user.created.ts:3",
  source: `throw new TypeError("${name}")`,
});
export const done: Outcome = { kind: "done", record };
export const dead: Outcome = { kind: "dead", record, reason: "failed 8 of 8 attempts" };
export const skipped: Outcome = { kind: "skipped", record, reason: "stale" };
export const released: Outcome = { kind: "released" };
export const retry = (delay: number, exclusive = false): Outcome => ({ kind: "retry", record, delay, exclusive });
export const interrupted = (delay: number, exclusive = false): Outcome => ({ kind: "interrupted", delay, exclusive });
export const postponed = (delay: number): Outcome => ({ kind: "postponed", record, delay });

export const CREATED = "user.created";
export const UPDATED = "user.updated";
export const DELETED = "user.deleted";
export const CRM = "user.created/crm";
export const OWNER = "owner-1";
/** A page with room for everything. */
export const NEWEST = { before: null, limit: 9_999 };

type Slots = Record<string, number>;

/** A claimer with these free slots. `held` are the attempts that it holds, by run. Default: none. */
export function claimer(
  slots: Slots,
  options: { owner?: string; exclusive?: boolean; held?: Map<number, number> } = {},
) {
  const { owner = OWNER, exclusive = false, held = new Map<number, number>() } = options;
  const capacity = { slots: new Map(Object.entries(slots)), exclusive };
  return { owner, capacity: () => capacity, held: () => held } satisfies Claimer;
}

/** A replay by the id of the delivery: it always runs, and before bulk replays. */
export function replayOf(id: string, replay: string, handlers: readonly KnownHandler[]): ReplayStepRequest {
  return { filter: { id }, handlers, stale: true, bulk: false, replay, after: 0, limit: Infinity };
}

/** Executes all steps of a replay and sums their counts. */
export async function replayAll(inbox: Inbox, request: Omit<ReplayStepRequest, "after">) {
  const steps: ReplayStep[] = [];
  for (let after: number | null = 0; after !== null;) {
    const step: ReplayStep = await inbox.replay({ ...request, after });
    steps.push(step);
    after = step.next;
  }
  const sum = (count: "added" | "stale" | "wiped" | "gone") => steps.reduce((total, step) => total + step[count], 0);
  return { steps, added: sum("added"), stale: sum("stale"), wiped: sum("wiped"), gone: sum("gone") };
}

/** Fails unless the inbox calls `onWork` because of `action`. Extra calls are allowed. */
export async function expectWork(inbox: Inbox, action: () => Promise<unknown>) {
  let calls = 0;
  inbox.onWork(() => (calls += 1));
  await action();
  await until("a call of onWork", () => calls > 0);
}

/** An inbox in a folder of its own, with clocks that the test controls. */
export async function emptyBox(open: OpenInbox) {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const clocks = createClocks();
  let inbox = await open(path, clocks);
  opened.defer(() => inbox.close());
  const held = new Map<number, number>();
  const resources = opened.move();
  return {
    clocks,
    get inbox() {
      return inbox;
    },
    /** As after a crash or a stop: running runs stay running, with an owner that is dead. */
    async reopen() {
      await inbox.close();
      inbox = await open(path, clocks);
    },
    accept: (id: string, overrides: Partial<NewDelivery> = {}, runs: NewRun[] = [run(overrides.type ?? CREATED)]) =>
      inbox.accept(delivery(id, { type: overrides.type ?? CREATED, ...overrides }), runs),
    async claimWithin(slots: Slots, options: { owner?: string; exclusive?: boolean } = {}): Promise<Claim> {
      const claim = await inbox.claim(claimer(slots, { ...options, held }));
      for (const claimed of claim.runs) held.set(claimed.run, claimed.attempt);
      return claim;
    },
    async claim(handlers: string[] = [CREATED, UPDATED, DELETED], slots = 10): Promise<ClaimedRun[]> {
      return (await this.claimWithin(Object.fromEntries(handlers.map((handler) => [handler, slots])))).runs;
    },
    async claimOne(handlers?: string[]): Promise<ClaimedRun> {
      const runs = await this.claim(handlers);
      expect(runs).toHaveLength(1);
      return runs[0]!;
    },
    async finish(claimed: ClaimedRun, outcome: Outcome = done) {
      const answer = await inbox.finish(claimed, outcome);
      held.delete(claimed.run);
      return answer;
    },
    /** Claims the one run that is due and finishes it. */
    async claimAndFinish(outcome: Outcome = done, handlers?: string[]) {
      return this.finish(await this.claimOne(handlers), outcome);
    },
    replay: (id: string, replay: string, handlers: KnownHandler[] = [knownHandler(CREATED)]) =>
      replayAll(inbox, replayOf(id, replay, handlers)),
    async list(filter: DeliveryFilter = {}, limit = NEWEST.limit): Promise<DeliverySummary[]> {
      return (await inbox.list(filter, { before: null, limit })).deliveries;
    },
    async runOf(id: string, index = 0): Promise<RunView> {
      const found = (await inbox.get(id))?.runs[index];
      if (!found) throw new Error(`${id} has no run ${index}`);
      return found;
    },
    async stateOf(id: string, index = 0) {
      return (await this.runOf(id, index)).state;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

export type Box = Awaited<ReturnType<typeof emptyBox>>;

/** The ids of the runs' deliveries, in the order in which the runs were claimed. */
export const ids = (runs: readonly ClaimedRun[]) => runs.map((claimed) => claimed.delivery.id);
