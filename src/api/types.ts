// The JSON that the API returns, shared by its routes, the commands and the page.
// Shapes only, so that the page can import them.

import type { PausedHandler } from "../dispatch/pauses.ts";
import type { Erasure } from "../inbox/erasure.ts";
import type { AttemptRecord, ErrorRecord, LogLine, ThrownAt } from "../inbox/inbox.ts";
import type { DeliverySummary, DeliveryView, ReplayProgress, RunView } from "../inbox/views.ts";
import type { ProblemView } from "../problems/problem-views.ts";
import type { FieldChange } from "./payload-diff.ts";
import type { HealthJson } from "./server-types.ts";
import type { Who } from "./who.ts";

export type {
  DeliveryList,
  DeliverySummary,
  ReplayCount,
  ReplayProgress,
  ReplayStep,
  RunRange,
  RunSummary,
} from "../inbox/views.ts";
export type { ProblemView } from "../problems/problem-views.ts";

/** A line of source code with the lines around it. */
export interface CodeFrame extends ThrownAt {
  /** The file was saved after the code that ran was loaded, so other code may have thrown. */
  changed?: boolean;
  /** The lines are as they were when it threw, and the file was saved since. */
  savedSince?: boolean;
}

export interface AttemptJson extends AttemptRecord {
  attempt: number;
  outcome: string;
  /** Where the error was thrown: the first stack frame in the user's code. Null without one, or without its source. */
  frame: CodeFrame | null;
}

export interface RunJson extends Omit<RunView, "attempts"> {
  attempts: AttemptJson[];
}

/** `GET /api/deliveries/:id?payload=true`. */
export interface DeliveryJson extends Omit<DeliveryView, "body" | "runs"> {
  runs: RunJson[];
  /** Always true: a delivery is stored only after its signature was verified. */
  verified: true;
  /** With `payload=true`: the body as text, or null when it was deleted. */
  payload?: string | null;
  /** With `payload=true`: paths of redacted values, such as `data.code`. Empty with `reveal=true`. */
  hidden?: string[];
}

/** A delivery in a list; `who` with `who=true`. */
export interface ListedDelivery extends DeliverySummary {
  who?: Who | null;
}

/** `GET /api/deliveries`. */
export interface ListJson {
  deliveries: ListedDelivery[];
  next: number | null;
}

/** `GET /api/deliveries/:id/changes`: what differs from the event of the same subject before this one. */
export interface ChangesJson {
  /** Null when this is the first stored event of its subject, or a payload is deleted. */
  previous: { id: string; type: string; at: number } | null;
  changes: FieldChange[];
}

/** `GET /api/people`. */
export interface PeopleJson {
  people: PersonJson[];
  /** The `before` of the next request; null at the end. */
  next: number | null;
}

/** A user, as stored payloads show it. */
export interface PersonJson {
  id: string;
  /** The name, the username, e-mail addresses and phone numbers. */
  names: string[];
  /** The newest event that was read. */
  arrival: number;
}

/** `POST /api/deliveries/:id/try`: a run that was rolled back. */
export interface TriedJson {
  handler: string;
  outcome: "done" | "failed" | "dead" | "skipped";
  took: number;
  log: LogLine[];
  /** The queries that `db` ran. */
  sql: { text: string; rows: number | null; error: string | null }[];
  error: ErrorRecord | null;
  frame: CodeFrame | null;
}

export interface HandlerRunCounts {
  dead: number;
  /** Waiting for a first attempt, or parked. */
  waiting: number;
  retrying: number;
}

/** `GET /api/feed`: the `data` of each server-sent event, by its name. A new connection continues after the last `id`. */
export interface FeedEvents {
  /** Deliveries that are new, or whose runs have changed: at most one summary for each. */
  deliveries: ListedDelivery[];
  /**
   * Too many changes to send them one by one: the page has to reload its list. A new stream begins with an empty summary,
   * because a list that was loaded before may be older than the stream.
   */
  summary: { deliveries: number; runs: number };
  handlers: HandlerJson[];
  health: HealthJson;
}

/** `GET /api/handlers`. */
export interface HandlerJson extends HandlerRunCounts {
  name: string;
  file: string;
  event: string;
  lane: string;
  options: { attempts?: number; timeout?: number | string; stale?: string };
  /** Its current file does not load. */
  error: { where: string; message: string; source: string | null } | null;
  /** The current file does not load, and the last good version continues to run. */
  lastGoodRuns: boolean;
  warning: string | null;
  /** Its runs wait, and no attempt is counted. */
  paused: Omit<PausedHandler, "handler"> | null;
  /** Since the server started: attempts that ended. */
  ran: number;
  failed: number;
  /** Duration of an attempt in milliseconds. */
  p50: number | null;
  p99: number | null;
  lastError: { at: number; delivery: string; message: string } | null;
}

/** `POST /api/erasures`, `GET /api/erasures`. */
export interface ErasureJson {
  /** Null when none was requested. */
  erasure: Erasure | null;
  /** This process works on it. Otherwise, it has finished, waits for unfinished runs, or has failed. */
  isUnderWay: boolean;
}

/** `GET /api/pauses`. */
export interface PausesJson {
  paused: PausedHandler[];
}

/** `POST /api/pause`, `POST /api/resume`. */
export interface PauseChangedJson {
  /** False when the handler was paused, or not paused, already. */
  changed: boolean;
}

/** `POST /api/bulk`, `GET /api/bulk`: a bulk replay that the server runs by itself. */
export interface BulkJobJson {
  /** Also the `replay` of the new runs, unless they are the first runs of a new handler. */
  id: string;
  added: number;
  isAdding: boolean;
  isStopped: boolean;
  isFinished: boolean;
  /** Why it ended early. */
  reason: string | null;
  runs: ReplayProgress;
}

/** `GET /api/search`: a text search through the newest deliveries. */
export interface SearchJson {
  deliveries: ListedDelivery[];
  /** Deliveries searched so far, earlier pages included. */
  searched: number;
  /** The `before` of the next page; null at the end. */
  next: number | null;
}

/** `POST /api/send`. */
export interface SentJson {
  id: string;
  status: number;
}

/** `POST /api/deliveries/:id/replay`. */
export interface ReplayedJson {
  /** The id of the new runs. */
  replay: string;
  handlers: string[];
}

/** `GET /api/problems`: those that failed last first. `GET /api/problems/:id` is one of them. */
export interface ProblemsJson {
  problems: ProblemView[];
}

export type ProblemJson = ProblemView;

/** `GET /api/problems/:id/common`: values that failed deliveries have in common, and successful ones have less often. */
export interface CommonValuesJson {
  /** How many deliveries were compared. */
  failed: number;
  done: number;
  /** `path` is below `data`, `value` is JSON; `failed` and `done` count the deliveries that have it. */
  values: { path: string; value: string; failed: number; done: number }[];
}

/** `GET /api/lost`: runs that are done, and whose effects are not in the handlers' database. */
export interface LostJson {
  runs: { delivery: string; handler: string }[];
}

/** Every other answer. */
export interface ErrorJson {
  error: string;
  message?: string;
}

/** Why a bulk replay did not start: it has no condition, or starts more runs than the person has seen. Status 409. */
export interface BulkRefusal {
  error: "no_condition" | "not_confirmed";
  message: string;
}

/** Why nothing can be replayed through a handler: the answer with status 409. */
export type HandlerTrouble =
  { error: "unknown_handler"; handlers: string[] } | { error: "not_loaded"; where: string; reason: string };
