// The durable store of deliveries and runs, as the rest of Bellhop sees it. Every backend passes one contract suite.
// A promise from here resolves only when what it says survives a crash; it rejects with `InboxUnavailable`
// when nothing of it was stored. Delays, never clock times, cross it: each backend keeps a clock of its own.

import type {
  DeliveryView,
  Listed,
  ListFilter,
  Missing,
  MissingQuery,
  MissingStep,
  Page,
  Prunable,
  Pruned,
  Replayable,
  ReplayHandler,
  ReplayQuery,
  ReplayStep,
  RunStates,
} from "./queries.ts";

export type { DeliveryView, Missing, MissingQuery, MissingStep, RunStates, RunView } from "./queries.ts";

/** A verified message, ready to be stored. */
export interface NewDelivery {
  /** The `svix-id`: what makes a message the same message. */
  id: string;
  type: string;
  /** `data.id`, or null when the event is about nothing in particular. */
  subject: string | null;
  /** Event time in milliseconds, see `eventTime`. */
  at: number;
  /** A Dashboard example: it has an order of its own. */
  sample: boolean;
  /** Carries a one-time code: its payload is wiped when its runs have ended, at the latest after 24 hours. */
  sensitive: boolean;
  receivedAt: number;
  /** The headers worth keeping. */
  headers: Record<string, string>;
  /** The bytes as they came. */
  body: Uint8Array;
}

/** A run to be made with its delivery: a handler that matches now. */
export interface NewRun {
  handler: string;
  lane: string;
  /** The handler's file does not load: its runs wait for it, and hold up nobody. */
  parked: boolean;
}

export type RunState = "waiting" | "running" | "done" | "dead" | "skipped";

/** One begun attempt. Everything written about it is conditional on `attempt`, which is never used again. */
export interface Ticket {
  run: number;
  attempt: number;
  handler: string;
  /** Attempts that count against the handler's `attempts`, before this one. */
  spent: number;
  /** Attempts that ended with their process. */
  interrupted: number;
  /** Went alone, so that a crash now can only be its own. */
  alone: boolean;
  /** A random id when somebody asked for the run, else "". */
  replay: string;
  /** A strictly later event of the same subject is done in this lane. */
  stale: boolean;
  delivery: {
    id: string;
    type: string;
    subject: string | null;
    receivedAt: number;
    receipts: number;
    sample: boolean;
    at: number;
  };
  /** Null when it was wiped. */
  body: Uint8Array | null;
  /** What the body says, when it has just come: for this run alone, to change as it likes. */
  event?: object;
}

/** What one attempt came to, kept with the run. */
export interface AttemptRecord {
  startedAt: number;
  /** Milliseconds that it took. */
  took: number;
  error?: { name: string; message: string; stack?: string };
  log?: LogLine[];
}

export interface LogLine {
  level: "debug" | "info" | "warn" | "error";
  message: string;
}

/**
 * How an attempt ended. `released` gives the attempt back: the run was not at fault and loses nothing. `postponed` loses
 * nothing either, and is kept on record: what it needs, as its database, is not there.
 */
export type Outcome =
  | { kind: "done"; record: AttemptRecord }
  | { kind: "retry"; record: AttemptRecord; delay: number; alone: boolean }
  /** The database could not be had: it goes again, and nothing is spent. */
  | { kind: "postponed"; record: AttemptRecord; delay: number }
  | { kind: "dead"; record: AttemptRecord; reason: string }
  | { kind: "skipped"; record: AttemptRecord; reason: string }
  | { kind: "interrupted"; delay: number; alone: boolean }
  | { kind: "postponed"; record: AttemptRecord; delay: number }
  | { kind: "released" };

export interface Claim {
  tickets: Ticket[];
  /** Milliseconds until a run is due that is not due now; null when none is waiting for a time. */
  next: number | null;
  /** A run is due that has to go alone. */
  alone: boolean;
}

/** Handlers that have a free slot now, and who holds what begins. */
export interface Begin {
  owner: string;
  handlers: readonly string[];
}

export type Accepted =
  /** `begun`: what was asked to begin with it and could, as `claim` begins it. */
  | { status: "accepted"; begun?: Ticket[] }
  /** Stored before; `runs` says how each handler stands. */
  | { status: "duplicate"; runs: { handler: string; state: RunState }[] };

export interface Inbox extends AsyncDisposable {
  /** Stores a delivery and its runs, or counts one more receipt of it. With `begin`, those that may go begin at once. */
  accept(delivery: NewDelivery, runs: readonly NewRun[], begin?: Begin): Promise<Accepted>;
  /**
   * Begins runs that may go now: heads of their lanes, due, within `rooms` (free slots by handler).
   * With `alone` it begins one run that has to go alone, and nothing else.
   */
  claim(owner: string, rooms: ReadonlyMap<string, number>, alone?: boolean): Promise<Claim>;
  /** Ends an attempt; `lost` when the run has gone on without it. May be repeated. */
  settle(ticket: Pick<Ticket, "run" | "attempt">, outcome: Outcome): Promise<"settled" | "lost">;
  /** Adds a line to what an ended attempt logged. */
  note(ticket: Pick<Ticket, "run" | "attempt">, line: LogLine): Promise<void>;
  /** Runs that other owners left running: their processes are dead. */
  orphans(owner: string): Promise<Ticket[]>;
  /** Gives back this owner's running runs that are not in `held`: a claim that was durable although it failed. */
  reconcile(owner: string, held: ReadonlySet<number>): Promise<number>;
  /** Parks the waiting runs whose handler is not among `loaded`, and lets the others go again. */
  park(loaded: ReadonlySet<string>): Promise<void>;
  /** A new run of this delivery for each of `runs`, under the id `replay`; asking twice is asking once. Null: no such delivery. */
  replay(id: string, replay: string, runs: readonly NewRun[]): Promise<number | null>;
  /** Counts, newest first, until `limit` are found. It looks at a few at a time, and holds up nobody. */
  missing(query: MissingQuery, limit?: number): Promise<Missing>;
  /**
   * Gives the next deliveries their run, at most `limit` of them in one commit: in their event's place, after live ones.
   * `after` is 0, then the `next` of the step before. Steps may be repeated: a delivery has one such run.
   */
  addMissing(query: MissingQuery, after: number, limit: number): Promise<MissingStep>;
  /** Counts what `addReplays` would add, in runs, until `limit` are found. It looks at a few at a time. */
  replayable(query: ReplayQuery, handlers: readonly ReplayHandler[], limit?: number): Promise<Replayable>;
  /**
   * Gives the next deliveries their new runs under the id `replay`, oldest first, at most `limit` runs in one commit: in
   * their events' place, after live ones. `after` is 0, then the `next` of the step before. Asking twice is asking once.
   */
  addReplays(
    query: ReplayQuery,
    handlers: readonly ReplayHandler[],
    replay: string,
    after: number,
    limit: number,
  ): Promise<ReplayStep>;
  /** How the runs stand that a step has added: those of `handler`, or all of them. */
  states(handler: string | null, runs: { first: number; last: number }): Promise<RunStates>;
  /** Makes a waiting run due now, in its order. False when it runs, is over, waits for its file, or is not there. */
  retryNow(run: number): Promise<boolean>;
  /** Ends a waiting run, and its lane goes on: `dead`, or `skipped` if it waits for its file. False when it does not wait. */
  giveUp(run: number, reason: string): Promise<boolean>;
  /** Wipes overdue one-time codes and skips runs that were parked for 24 hours. */
  sweep(): Promise<void>;
  get(id: string): Promise<DeliveryView | null>;
  /** Newest first. Without payloads and headers. It looks at a few at a time, and holds up nobody. */
  list(filter: ListFilter, page: Page): Promise<Listed>;
  /** Somebody has seen how this delivery failed: retention need not keep its payload for that any longer. */
  looked(id: string): Promise<void>;
  /**
   * What retention takes next, at most `limit` deliveries; null when nothing is due. Age is measured from the receipt of
   * the newest delivery. The caller first deletes the ledger rows of `ledger`, then hands it all to `prune`.
   */
  prunable(retentionDays: number, limit: number): Promise<Prunable | null>;
  /** Takes what still may go: nothing that has a run to come. Repeatable. */
  prune(batch: Prunable): Promise<Pruned>;
  /** Whether the last commit went through; while it did not, the inbox tries again by itself. */
  readonly writable: boolean;
  /** Called when there may be work or the disk is back: a hint that may be missed. */
  onWork(wake: () => void): void;
  close(): Promise<void>;
}

/** The ticket of a run that begins with its delivery. */
export function ticketOf(
  { id, type, subject, receivedAt, sample, at, body }: NewDelivery,
  { run, handler, stale }: Pick<Ticket, "run" | "handler" | "stale">,
): Ticket {
  return {
    run,
    attempt: 1,
    handler,
    spent: 0,
    interrupted: 0,
    alone: false,
    replay: "",
    stale,
    delivery: { id, type, subject, receivedAt, receipts: 1, sample, at },
    body,
  };
}

/** What orders a run in its lane: its subject, apart for samples; null when there is none, and so no order. */
export function lineOf(subject: string | null, sample: boolean): string | null {
  return subject !== null && sample ? `sample ${subject}` : subject;
}
