// What the tests of inboxes share: an inbox in a folder of its own with its clocks in hand, deliveries and runs to put in.

import { expect } from "bun:test";

import type { AttemptRecord, Inbox, NewDelivery, NewRun, Outcome, RunView, Ticket } from "../../src/inbox/inbox.ts";
import { temporaryFolder } from "../harness.ts";

/** What an inbox reads the time from. */
export interface Clocks {
  wallClock: () => number;
  monotonic: () => number;
}

/** Opens an inbox whose state lives in `folder`; opened there again, it has what the one before it had. */
export type OpenInbox = (folder: string, clocks: Clocks) => Promise<Inbox>;

export const SECOND = 1_000;
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
/** When the tests' events happen: `at(1)` is a second after `at(0)`. */
export const at = (seconds: number) => Date.UTC(2026, 0, 1) + seconds * SECOND;

/** Clocks that stand still until they are told. `jump` moves the wall clock alone, as a wrong time server does. */
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

export function delivery(id: string, more: Partial<NewDelivery> = {}): NewDelivery {
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
    ...more,
  };
}

/** `user.created` runs in lane `user`, `user.created/crm` in `user/crm`. */
export function run(handler: string, more: Partial<NewRun> = {}): NewRun {
  const [event = "", own] = handler.split("/");
  const kind = event.slice(0, event.indexOf("."));
  return { handler, lane: own ? `${kind}/${own}` : kind, parked: false, ...more };
}

export const record: AttemptRecord = { startedAt: at(2), took: 3 };
export const done: Outcome = { kind: "done", record };
export const dead: Outcome = { kind: "dead", record, reason: "failed 8 of 8 attempts" };
export const skipped: Outcome = { kind: "skipped", record, reason: "stale" };
export const released: Outcome = { kind: "released" };
export const retry = (delay: number, alone = false): Outcome => ({ kind: "retry", record, delay, alone });
export const interrupted = (delay: number, alone = false): Outcome => ({ kind: "interrupted", delay, alone });

export const CREATED = "user.created";
export const UPDATED = "user.updated";
export const DELETED = "user.deleted";
export const ME = "owner-1";

/** An inbox in a folder of its own, with the clocks in the test's hands. */
export async function emptyBox(open: OpenInbox) {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const clocks = createClocks();
  let inbox = await open(path, clocks);
  opened.defer(() => inbox.close());
  const held = opened.move();
  return {
    clocks,
    get inbox() {
      return inbox;
    },
    /** As after a crash or a stop: what was running is running still, for an owner that is gone. */
    async reopen() {
      await inbox.close();
      inbox = await open(path, clocks);
    },
    accept: (id: string, more: Partial<NewDelivery> = {}, runs: NewRun[] = [run(more.type ?? CREATED)]) =>
      inbox.accept(delivery(id, { type: more.type ?? CREATED, ...more }), runs),
    async claim(handlers: string[] = [CREATED, UPDATED, DELETED], room = 10): Promise<Ticket[]> {
      return (await inbox.claim(ME, new Map(handlers.map((handler) => [handler, room])))).tickets;
    },
    async claimOne(handlers?: string[]): Promise<Ticket> {
      const tickets = await this.claim(handlers);
      expect(tickets).toHaveLength(1);
      return tickets[0]!;
    },
    settle: (ticket: Pick<Ticket, "run" | "attempt">, outcome: Outcome = done) => inbox.settle(ticket, outcome),
    async runOf(id: string, index = 0): Promise<RunView> {
      const found = (await inbox.get(id))?.runs[index];
      if (!found) throw new Error(`${id} has no run ${index}`);
      return found;
    },
    async stateOf(id: string, index = 0) {
      return (await this.runOf(id, index)).state;
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** The ids of their deliveries, in the order in which they were begun. */
export const ids = (tickets: readonly Ticket[]) => tickets.map((ticket) => ticket.delivery.id);
