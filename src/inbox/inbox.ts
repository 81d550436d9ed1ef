// The interface of the durable store of deliveries and runs. Every store passes one contract suite.
// A write resolves only when it survives a crash; it rejects with `InboxUnavailable` when nothing of it was stored.
// Callers pass delays, never clock times, because the inbox has a clock of its own.

import type {
  AttemptRecord,
  Backlog,
  DeliveryContent,
  DeliveryFilter,
  DeliveryList,
  DeliveryView,
  LogLine,
  NewRun,
  Page,
  ProblemKey,
  ProblemListed,
  ProblemNews,
  ProblemView,
  ReplayCount,
  ReplayProgress,
  ReplaySelection,
  ReplayStep,
  ReplayStepRequest,
  RetentionResult,
  RetentionStep,
  Rollup,
  RunRange,
  RunState,
  WroteRuns,
} from "./views.ts";

export type {
  AttemptRecord,
  ErrorCause,
  ErrorRecord,
  LogLine,
  NewRun,
  ProblemKey,
  ProblemNews,
  RunState,
} from "./views.ts";

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

/** `breaker`: the handler was paused because many runs in a row failed alike. */
export type PauseCause = "person" | "breaker";

/** A handler whose runs wait. */
export interface Pause {
  handler: string;
  cause: PauseCause;
  reason: string | null;
  /** Milliseconds since it was paused. */
  pausedFor: number;
  /** Milliseconds until a server may try one run; null when only a person resumes the handler. */
  nextProbe: number | null;
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

export type ErasureCause = "person" | "user.deleted";

/** The erasure of what is stored about a user, and its receipt when it has finished. */
export interface Erasure {
  user: string;
  cause: ErasureCause;
  /** On the inbox's clock, in milliseconds. */
  requestedAt: number;
  finishedAt: number | null;
  /** Waiting runs about the user are given up. Otherwise, their deliveries are erased when they have ended. */
  givesUp: boolean;
  /** The part of the stored payloads that was searched: 0 to 1. */
  searched: number;
  /** Erased deliveries. */
  deliveries: number;
  /** Deliveries with unfinished runs. */
  held: number;
  /** Erased rows of the handlers' database, by table. */
  elsewhere: Record<string, number>;
}

export interface Inbox extends AsyncDisposable {
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
  /** Parks the waiting runs whose handler is not among `loaded`, and unparks the others. */
  park(loaded: ReadonlySet<string>): Promise<void>;
  /** The paused handlers. Servers give them no slots. */
  pauses(): Promise<Pause[]>;
  /**
   * Pauses a handler, whether it exists or not. A person's pause replaces the breaker's, and not the other way round.
   * `probeIn`: milliseconds until the first probe. False when it was paused already.
   */
  pause(handler: string, cause: PauseCause, reason: string | null, probeIn: number | null): Promise<boolean>;
  /** Ends a pause; with `cause`, only one of this cause. False when there was none. */
  resume(handler: string, cause?: PauseCause): Promise<boolean>;
  /** Whether the caller may try one run of a paused handler now. The next probe is `nextIn` milliseconds later. */
  takeProbe(handler: string, nextIn: number): Promise<boolean>;
  /** Adds runs to stored deliveries, oldest first, in one commit of bounded size. Idempotent. */
  replay(step: ReplayStepRequest): Promise<ReplayStep>;
  /**
   * Runs that are done and wrote to the handlers' database, the latest of each handler and delivery: those whose number is
   * below `before`, newest first, a bounded number of them.
   */
  wroteRuns(before: number): Promise<WroteRuns>;
  /** Counts what `replay` would add, until `limit` are found. */
  countReplay(selection: ReplaySelection, limit?: number): Promise<ReplayCount>;
  /** Counts the runs of a bulk replay by state: those of `handler`, or all in the range. */
  replayProgress(handler: string | null, runs: RunRange): Promise<ReplayProgress>;
  /** Makes a waiting run due now, in its order. False when it runs, has ended, is parked, or does not exist. */
  retryNow(run: number): Promise<boolean>;
  /** Ends a waiting run: `dead`, or `skipped` if it is parked. False when it does not wait. */
  giveUp(run: number, reason: string): Promise<boolean>;
  get(id: string): Promise<DeliveryView | null>;
  /** Newest first, without payloads and headers. */
  list(filter: DeliveryFilter, page: Page): Promise<DeliveryList>;
  /** The payloads of the deliveries with these arrivals, or of the newest `limit` below the arrival `before`. */
  contents(which: readonly number[] | { before: number | null; limit: number }): Promise<DeliveryContent[]>;
  /** Counts the runs that are not done, in bounded time. */
  backlog(): Promise<Backlog>;
  /** The last stored delivery, of any server. */
  newestDelivery(): Promise<{ arrival: number; receivedAt: number } | null>;
  /** Figures of minutes or hours (`span`, in milliseconds) since a Unix time, of all servers, oldest first. */
  rollups(span: number, since: number): Promise<Rollup[]>;
  /** Replaces the figures of the same span, start and server, and deletes those of each span that start before its time. */
  saveRollups(rollups: readonly Rollup[], before: ReadonlyMap<number, number>): Promise<void>;
  /** The problems whose failures came last, at most `limit`. */
  problems(listed: ProblemListed, limit: number): Promise<ProblemView[]>;
  problem(id: string): Promise<ProblemView | null>;
  /** A muted problem is counted as before, and not reported. False when there is no such problem. */
  muteProblem(id: string, muted: boolean): Promise<boolean>;
  /**
   * Takes the changes of problems that no server has reported yet. A server takes over those of one that is not `alive`,
   * which returns undefined while that is unknown. The caller reports them, and then passes them to `newsReported`.
   */
  takeNews(owner: string, alive: () => Promise<ReadonlySet<string> | undefined>): Promise<ProblemNews[]>;
  newsReported(owner: string, news: readonly ProblemNews[]): Promise<void>;
  /** Deletes problems that were resolved more than this many days ago. */
  forgetProblems(days: number): Promise<void>;
  /** Deletes overdue one-time codes, skips runs that were parked for 24 hours, and resolves problems. */
  sweep(): Promise<void>;
  /**
   * The next step of retention, of at most `limit` deliveries; null when nothing is due. The caller first deletes the
   * ledger rows of `ledger`, then passes the step to `deleteExpired`.
   */
  expired(retentionDays: number, limit: number): Promise<RetentionStep | null>;
  /** Deletes what is still expired, and nothing with an open run. May be repeated. */
  deleteExpired(step: RetentionStep): Promise<RetentionResult>;
  /** Begins to erase what is stored about a user now. */
  requestErasure(user: string, cause: ErasureCause, givesUp: boolean): Promise<void>;
  /** Begins to erase users whose `user.deleted` was received `after` milliseconds ago. */
  requestDueErasures(after: number): Promise<void>;
  erasure(user: string): Promise<Erasure | null>;
  /** Erasures that have not finished, oldest first. */
  openErasures(limit: number): Promise<Erasure[]>;
  /** The ids and addresses of e-mail and phone in the stored events of the user. */
  identifiersOf(user: string): Promise<string[]>;
  /**
   * Erases what further payloads contain about the user, then the user's own events, and `held` deliveries whose runs have
   * ended. False when nothing is left but what is held.
   */
  eraseNext(user: string, addresses: ReadonlySet<string>): Promise<boolean>;
  /** Writes the receipt, unless something is left. `elsewhere`: what was erased outside of the inbox. */
  finishErasure(user: string, elsewhere: Record<string, number>): Promise<boolean>;
  /** Removes erased bytes from the files, as far as the store can. False when it could not, because the file was in use. */
  scrub(): Promise<boolean>;
  /** Whether deliveries can be stored. While they can't, the inbox retries by itself. */
  readonly writable: boolean;
  /** Why deliveries can't be stored now. */
  readonly trouble: unknown;
  close(): Promise<void>;
}
