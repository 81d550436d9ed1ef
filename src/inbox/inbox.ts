// The interface of the durable store of deliveries and runs. Every store passes one contract suite.
// A write resolves only when it survives a crash; it rejects with `InboxUnavailable` when nothing of it was stored.
// Callers pass delays, never clock times, because the inbox has a clock of its own.

import type { ProblemKey } from "../problems/problem-views.ts";
import type { Problems } from "../problems/problems.ts";
import type { STATES } from "../store/schema.ts";
import type { Counts } from "./backlog.ts";
import type { StoredErasures } from "./erasure.ts";
import type { WaitingRuns } from "./parked.ts";
import type { StoredPauses } from "./paused.ts";
import type { Queries } from "./query.ts";
import type { Replays } from "./replay.ts";
import type { Retention } from "./retention.ts";
import type { Rollups } from "./rollups.ts";

/** A verified message, ready to be stored. */
export interface NewDelivery {
  /** The `svix-id`, which identifies the message. */
  id: string;
  type: string;
  /** `data.id`, or null when the event has no subject. */
  subject: string | null;
  /** Event time in milliseconds, see `eventTime`. */
  at: number;
  /** A Dashboard example, which is ordered apart from real events. */
  sample: boolean;
  /** Carries a one-time code: its payload is deleted when its runs have ended, at the latest after 24 hours. */
  sensitive: boolean;
  receivedAt: number;
  /** The headers that are stored. */
  headers: Record<string, string>;
  /** The bytes as received. */
  body: Uint8Array;
  /** The parsed body, for the first run that starts with this delivery. Never stored; the run may change it. */
  event?: object;
}

/** A run to be created with its delivery, for a handler that matches now. */
export interface NewRun {
  handler: string;
  lane: string;
  /** The handler's file does not load: the run waits for it, and blocks no other. */
  parked: boolean;
}

/** `waiting`, `running`, `done`, `dead` or `skipped`. */
export type RunState = (typeof STATES)[number];

/** Identifies one attempt. Every later write about it is conditional on the number, which is never used again. */
export interface AttemptId {
  run: number;
  attempt: number;
}

/** A run with an attempt that has begun. */
export interface ClaimedRun extends AttemptId {
  /** The server that began the attempt. */
  owner: string;
  handler: string;
  orderKey: string;
  /** Attempts that count against the handler's `attempts`, before this one. */
  spent: number;
  /** Attempts that ended with their process. */
  interrupted: number;
  /** It runs exclusively, so that a crash can only be caused by this run. */
  exclusive: boolean;
  /** A random id for a replay, else "". */
  replay: string;
  /** A strictly later event of the same subject is done in this lane. */
  stale: boolean;
  delivery: {
    id: string;
    /** Its number in the order of arrival. */
    arrival: number;
    type: string;
    subject: string | null;
    receivedAt: number;
    receipts: number;
    sample: boolean;
    at: number;
    /** Its payload is deleted when its runs have ended. */
    sensitive: boolean;
  };
  /** Null when the payload was deleted. */
  body: Uint8Array | null;
  /** The parsed body of a delivery that was just received. Only this run has it and may change it. */
  event?: object;
  /** The stored headers that continue the trace of its receipt, if it was traced. */
  trace?: Readonly<Record<string, string>>;
}

/** The result of one attempt, kept with the run. */
export interface AttemptRecord {
  startedAt: number;
  /** Milliseconds that it took. */
  took: number;
  error?: ErrorRecord;
  log?: LogLine[];
}

export interface ErrorRecord {
  /** The error's name, or that of its class. */
  name: string;
  message: string;
  stack?: string;
  /** The error's `cause` and the `errors` of an AggregateError, and theirs, outermost first. */
  causes?: ErrorCause[];
  /** Where it was thrown in the user's code, with the lines as they were then. */
  frame?: ThrownAt;
}

export interface ThrownAt {
  /** From the project's directory: `handlers/user.created.ts`. */
  file: string;
  line: number;
  column: number;
  /** The line and a few around it; `number` counts from 1. */
  source: { number: number; text: string }[];
}

export interface ErrorCause {
  name: string;
  message: string;
  /** The first line of its stack that is neither Bellhop's nor a package's: `/app/handlers/user.created.ts:3:15`. */
  at?: string;
}

export interface LogLine {
  level: "debug" | "info" | "warn" | "error";
  message: string;
}

/**
 * How an attempt ended. `released` gives the attempt back: the run was not at fault, and no attempt is counted.
 * `postponed` is not counted either, but recorded: a dependency, such as the handler's database, is not available.
 * `probe`: the breaker tried the run, and its handler stays paused.
 */
export type Outcome =
  /** `wrote`: it committed to the handlers' database, whose ledger has a row for it. */
  | { kind: "done"; record: AttemptRecord; wrote?: boolean }
  /** `problem`: groups its failures, here and in `dead`. */
  | { kind: "retry"; record: AttemptRecord; delay: number; exclusive: boolean; problem?: ProblemKey }
  | { kind: "postponed"; record: AttemptRecord; delay: number; probe?: boolean }
  | { kind: "dead"; record: AttemptRecord; reason: string; problem?: ProblemKey }
  | { kind: "skipped"; record: AttemptRecord; reason: string }
  | { kind: "interrupted"; delay: number; exclusive: boolean }
  | { kind: "released" };

export type Accepted =
  | { status: "accepted" }
  /** Already stored, with the states of its runs. */
  | { status: "duplicate"; runs: { handler: string; state: RunState }[] };

/** Free slots by handler. `exclusive`: claim one run that has to run exclusively, and nothing else. */
export interface Capacity {
  slots: ReadonlyMap<string, number>;
  exclusive?: boolean;
  /** Handlers without slots whose runs no server should claim. */
  paused?: ReadonlySet<string>;
}

/** A server that claims runs. */
export interface Claimer {
  /** Random for each start of a server. */
  readonly owner: string;
  capacity(): Capacity;
  /** For each run of this owner, the latest attempt whose end is not recorded yet. */
  held(): ReadonlyMap<number, number>;
}

export interface Claim {
  runs: ClaimedRun[];
  /** Milliseconds until the next run with capacity is due; null when no run waits for its due time. */
  next: number | null;
  /** The handler of the run that is due and has to run exclusively; null when there is none. */
  exclusive: string | null;
}

/** Stores deliveries and runs. Also reads and counts them, replays deliveries, and changes waiting runs. */
export interface Inbox extends Queries, Counts, Replays, WaitingRuns, AsyncDisposable {
  /** Stores a delivery and its runs, or counts one more receipt of it. */
  accept(delivery: NewDelivery, runs: readonly NewRun[]): Promise<Accepted>;
  /** Ends an attempt; `superseded` when the run has continued without it. May be repeated. */
  finish(run: ClaimedRun, outcome: Outcome): Promise<"recorded" | "superseded">;
  /** Begins attempts of runs that are due: heads of their order keys, within the capacity. */
  claim(claimer: Claimer): Promise<Claim>;
  /** From now on each commit also claims, and passes the claimed runs to `start` when it is durable. */
  claimWithEachCommit(claimer: Claimer, start: (claim: Claim) => void): void;
  /** `wake` is called when a run may be claimable that no commit has claimed. Such a hint may be lost. */
  onWork(wake: () => void): void;
  /** Adds a line to the log of an ended attempt. */
  note(attempt: AttemptId, line: LogLine): Promise<void>;
  /** Running runs of owners that are not alive. */
  abandoned(alive: ReadonlySet<string>): Promise<ClaimedRun[]>;
  /** Deletes overdue one-time codes, skips runs that were parked for 24 hours, and resolves problems. */
  sweep(): Promise<void>;
  /** The paused handlers. Servers give them no slots. */
  readonly pauses: StoredPauses;
  readonly problems: Problems;
  readonly retention: Retention;
  readonly erasures: StoredErasures;
  readonly rollups: Rollups;
  /** Whether deliveries can be stored. While they can't, the inbox retries by itself. */
  readonly writable: boolean;
  /** Why deliveries can't be stored now. */
  readonly trouble: unknown;
  close(): Promise<void>;
}
