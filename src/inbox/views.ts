// Views of deliveries and runs, and the filters that select them.

import type { AttemptRecord, NewRun, RunState } from "./inbox.ts";

export interface RunView {
  run: number;
  handler: string;
  /** A random id for a replay, else "". */
  replay: string;
  state: RunState;
  parked: boolean;
  attempts: (AttemptRecord & { attempt: number; outcome: string })[];
  /** Milliseconds until a waiting run is due. */
  due: number | null;
  reason: string | null;
  /** The problem of its latest failure. */
  problem: string | null;
}

export interface DeliveryView {
  id: string;
  type: string;
  subject: string | null;
  at: number;
  sample: boolean;
  receivedAt: number;
  receipts: number;
  /** Null, as is the body, once the payload was deleted. */
  headers: Record<string, string> | null;
  body: Uint8Array | null;
  runs: RunView[];
}

export interface RunSummary extends Omit<RunView, "attempts"> {
  /** Attempts on record: `released` ones are not. */
  attempts: number;
  /** Milliseconds that the last attempt took. */
  took: number | null;
  /** The last attempt failed, and the run has not succeeded since: the first line of its error, `TypeError: x is not …`. */
  error?: string;
}

/** The content of a delivery that a text search reads. */
export interface DeliveryContent {
  arrival: number;
  id: string;
  type: string;
  subject: string | null;
  /** Null once it was deleted. */
  body: Uint8Array | null;
}

/** A delivery without its payload, as in a list. */
export interface DeliverySummary extends Omit<DeliveryView, "headers" | "body" | "runs"> {
  /** Its number in the order of arrival. */
  arrival: number;
  /** Its payload is deleted, so it can't be replayed. */
  wiped: boolean;
  runs: RunSummary[];
}

/** A current handler: which events it takes, and whether its file loads. */
export interface KnownHandler extends NewRun {
  /** Its event or pattern: `user.created`, `user.*` or `*`. */
  event: string;
}

/** Selects deliveries. A condition that is null or missing selects all. */
export interface DeliveryFilter {
  /** The whole `svix-id`. */
  id?: string | null;
  /** An event or a pattern: `user.created`, `user.*` or `*`. */
  type?: string | null;
  /** `data.id`; samples of it are included. */
  subject?: string | null;
  /** A run of this handler exists; with `state`, its latest one is in that state. */
  handler?: string | null;
  /**
   * The latest run of a handler is in this state. `waiting` includes `parked` and `retrying`, which has failed and waits
   * for its next attempt; `unhandled` selects deliveries without runs.
   */
  state?: RunState | "parked" | "retrying" | "unhandled" | null;
  /** A run belongs to this problem; with `state`, that run is in that state. */
  problem?: string | null;
  /** Received at this time or later, in milliseconds. */
  since?: number | null;
  /** Received at this time or earlier. */
  until?: number | null;
  /** The delivery matches this handler's event, and the handler has no run of it, replays aside. */
  neverSeenBy?: KnownHandler | null;
}

export interface Page {
  /** The `next` of the page before; null for the newest. */
  before: number | null;
  limit: number;
}

/** Newest first. `next` is null at the end; the page after a page that is just full may be empty. */
export interface DeliveryList {
  deliveries: DeliverySummary[];
  next: number | null;
}

/** Selects new runs of stored deliveries: for each selected delivery, one of each handler that takes its event. */
export interface ReplaySelection {
  /** With `state`, only handlers whose latest run of the delivery is in that state. */
  filter: DeliveryFilter;
  handlers: readonly KnownHandler[];
  /** Includes runs that a later event of their subject has overtaken in the handler's lane. */
  stale: boolean;
}

export interface ReplayStepRequest extends ReplaySelection {
  /** The id of the new runs, made by the caller. Under one id, a handler gets one run of a delivery. */
  replay: string;
  /** Bulk runs wait for live ones of their order key and handler. */
  bulk: boolean;
  /** 0, then the `next` of the step before. */
  after: number;
  /** The most runs that this step adds. */
  limit: number;
}

/** Counted in runs, since a delivery may have several. */
interface LeftOut {
  /** A later event of the subject is done. */
  stale: number;
  /** The payload was deleted. */
  wiped: number;
  /** The handler does not exist any more. */
  gone: number;
}

export interface ReplayCount extends LeftOut {
  found: number;
  /** Counting stopped at the limit: there may be more. */
  more: boolean;
}

export interface ReplayStep extends LeftOut {
  added: number;
  /** Where the next step continues; null at the end. */
  next: number | null;
  /** The ids of the added runs lie in this range. */
  runs: RunRange | null;
}

export interface RunRange {
  first: number;
  last: number;
}

/** Counts of runs by state. `active` counts waiting runs that are running, due, or behind such a run. */
export type ReplayProgress = Record<"done" | "dead" | "skipped" | "waiting" | "active", number>;

/** Identifies a run in the ledger of effects. */
export interface RunKey {
  delivery: string;
  handler: string;
  replay: string;
}

/** A page of runs with a row in the ledger. */
export interface WroteRuns {
  runs: RunKey[];
  /** Where the next page begins; null after the last one. */
  next: number | null;
}
