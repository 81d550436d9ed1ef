// What people ask of the inbox, and what it answers: lists, bulk replays, retention. Shapes only.
// Each answer is found in bounded steps, whatever is stored: nothing here holds up a delivery.

import type { AttemptRecord, NewRun, RunState } from "./inbox.ts";

export interface RunView {
  run: number;
  handler: string;
  replay: string;
  state: RunState;
  parked: boolean;
  attempts: (AttemptRecord & { attempt: number; outcome: string })[];
  /** Milliseconds until it goes again, when it waits. */
  due: number | null;
  reason: string | null;
}

export interface DeliveryView {
  id: string;
  type: string;
  subject: string | null;
  at: number;
  sample: boolean;
  receivedAt: number;
  receipts: number;
  headers: Record<string, string> | null;
  body: Uint8Array | null;
  runs: RunView[];
}

/** Which deliveries a list shows. All that is not null has to fit. */
export interface ListFilter {
  /** The `svix-id`, whole. */
  id?: string | null;
  /** An event or a pattern: `user.created`, `user.*` or `*`. */
  type?: string | null;
  /** `data.id`, samples of it included. */
  subject?: string | null;
  /** One of its runs is of this handler; with `state`, one of this handler in that state. */
  handler?: string | null;
  /** One of its runs stands so: `waiting` includes `parked`. `unhandled`: it has no run at all. */
  state?: RunState | "parked" | "unhandled" | null;
  /** Received then or later, in milliseconds as in `receivedAt`. */
  since?: number | null;
  /** Received then or earlier. */
  until?: number | null;
}

export interface Page {
  /** An arrival number, the `next` of the page before; null: from the newest. */
  before: number | null;
  limit: number;
}

export interface RunSummary {
  run: number;
  handler: string;
  replay: string;
  state: RunState;
  parked: boolean;
  /** Attempts that are on record: `released` ones are not. */
  attempts: number;
  /** Milliseconds that the last of them took. */
  took: number | null;
  /** Milliseconds until it goes again, when it waits. */
  due: number | null;
  reason: string | null;
}

/** A delivery without its payload, as in a list. */
export interface DeliverySummary {
  id: string;
  /** Its number in the order of arrival. */
  arrival: number;
  type: string;
  subject: string | null;
  at: number;
  sample: boolean;
  receivedAt: number;
  receipts: number;
  /** Its payload is gone: it can't be replayed. */
  wiped: boolean;
  runs: RunSummary[];
}

/** `next`: the `before` of the next page, null at the end. A page that is just full may be the last one all the same. */
export interface Listed {
  deliveries: DeliverySummary[];
  next: number | null;
}

/** Which deliveries a handler never saw: they match it, and it has no run of theirs, replays aside. */
export interface MissingQuery {
  handler: string;
  lane: string;
  /** The handler's event or pattern: `user.created`, `user.*` or `*`. */
  event: string;
  /** Leaves out what was received before, in milliseconds as in `receivedAt`; null: nothing. */
  since: number | null;
  /** Takes those too that a later event of their subject has overtaken in this lane. */
  stale: boolean;
}

export interface Missing {
  found: number;
  /** Left out: a later event of the same subject is done. */
  stale: number;
  /** Left out: the payload was wiped. */
  wiped: number;
  /** It stopped at the limit: there may be more. */
  more: boolean;
}

/** `next`: where the next step goes on, null at the end. `runs`: what was added, for `states`. */
export interface MissingStep extends Pick<Missing, "stale" | "wiped"> {
  added: number;
  next: number | null;
  runs: { first: number; last: number } | null;
}

/** What is to run again. All that is not null has to fit. */
export interface ReplayQuery {
  /** Only where the latest run of a handler is dead; else whatever ran, and whatever never ran. */
  dead: boolean;
  /** Only runs of this handler. */
  handler: string | null;
  /** An event or a pattern: `user.created`, `user.*` or `*`. */
  type: string | null;
  subject: string | null;
  /** Received then or later, in milliseconds as in `receivedAt`. */
  since: number | null;
  /** Received then or earlier. */
  until: number | null;
  /** Takes those too that a later event of their subject has overtaken in the handler's lane. */
  stale: boolean;
}

/** A handler as it is now: what it runs for, and whether its file loads. */
export interface ReplayHandler extends NewRun {
  /** Its event or pattern: `user.created`, `user.*` or `*`. */
  event: string;
}

/** Counted in runs, as a delivery may have several. */
export interface Replayable extends Missing {
  /** Left out: dead runs of handlers that there are no more. */
  gone: number;
}

export interface ReplayStep extends MissingStep {
  gone: number;
}

/** How many runs stand how. `going`, of those that wait: what runs or is due, or comes after one that is. */
export type RunStates = Record<"done" | "dead" | "skipped" | "waiting" | "going", number>;

/** What names a run in the ledger of effects. */
export interface RunKey {
  delivery: string;
  handler: string;
  replay: string;
}

/** What retention looks at in one step, by number of arrival. What goes of each is decided again when it goes. */
export interface Prunable {
  /** Runs that are over and go with their deliveries: their rows in the ledger go first. */
  ledger: RunKey[];
  retentionDays: number;
  /** Old enough to go whole. */
  deliveries: number[];
  /** Old enough for their payloads and logs to go. */
  payloads: number[];
  /** Had to stay when it was their turn, and need no longer. */
  again: number[];
}

/** What a step of retention has taken. */
export interface Pruned {
  payloads: number;
  deliveries: number;
}
