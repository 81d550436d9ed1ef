// Views of problems: failures with the same cause.

/** A failure as its problem groups it: `problemOf` makes it from a handler and an error. */
export interface ProblemKey {
  /** `p_` and a hash of the handler, the error's name, the message and the place, so equal failures have equal ids. */
  id: string;
  name: string;
  /** Without ids, numbers and quoted values. */
  message: string;
  /** The newest place in the user's code, from the project's directory: `handlers/user.created.ts:9`. */
  place: string | null;
  /** The line of code there when it threw. */
  source: string | null;
}

/**
 * Failures with the same cause. A run belongs to the problem of its latest failure; a replay takes that over from the dead
 * run. So each handler and delivery counts once.
 */
export interface ProblemView extends ProblemKey {
  handler: string;
  /** `resolved`: no run of it is dead or unfinished. */
  state: "open" | "resolved";
  muted: boolean;
  /** Failed attempts, all that were ever recorded. */
  failures: number;
  /** Its runs by state. `retrying` counts waiting, running and parked ones, replays included. */
  runs: Record<"dead" | "retrying" | "done" | "skipped", number>;
  /** Distinct subjects of dead and retrying runs. */
  subjects: number;
  /** Counting stopped at a limit: the numbers of runs and subjects are lower bounds. */
  more: boolean;
  firstAt: number;
  lastAt: number;
  resolvedAt: number | null;
  /** When it failed again after it was resolved, for the last time. */
  regressedAt: number | null;
  /** The id of the delivery that failed last. */
  newest: string;
  /** Failed attempts of the last 14 days (UTC), oldest first. */
  days: number[];
}

/** `open` and `resolved` leave muted ones out. */
export type ProblemListed = "open" | "resolved" | "muted";

/** The change of a problem: it is new, it failed again after it was resolved, or its failures reached 10 or 100. */
export type ProblemChange = "new" | "regressed" | "10 times" | "100 times" | "dead";

/** Changes of one problem that a person has to learn about. */
export interface ProblemNews {
  problem: ProblemView;
  changes: readonly ProblemChange[];
}
