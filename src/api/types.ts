// The JSON that the API returns, shared by its routes, the commands and the page.
// Shapes only, so that the page can import them.

import type { PausedHandler } from "../dispatch/pauses.ts";
import type { RefusalCode } from "../errors.ts";
import type { AttemptRecord, Erasure, ErrorRecord } from "../inbox/inbox.ts";
import type { DeliverySummary, DeliveryView, LogLine, ProblemView, ReplayProgress, RunView } from "../inbox/views.ts";
import type { FieldChange } from "./payload-diff.ts";
import type { Who } from "./who.ts";

export type {
  DeliveryList,
  DeliverySummary,
  ProblemView,
  ReplayCount,
  ReplayProgress,
  ReplayStep,
  RunRange,
  RunSummary,
} from "../inbox/views.ts";

/** A line of source code with the lines around it. */
export interface CodeFrame {
  /** From the project's folder: `handlers/user.created.ts`. */
  file: string;
  line: number;
  column: number;
  /** The line and a few around it; `number` counts from 1. */
  source: { number: number; text: string }[];
  /** The file was saved after the attempt had begun, so other code may have thrown. */
  changed?: boolean;
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

/** `GET /api/server`. */
export interface ServerJson {
  pid: number;
  mode: "dev" | "start";
  /** Begins each command that the page names: `bun`, or `bunx bellhop` where Bellhop is installed as a package. */
  command: string;
  /** The webhook endpoint on this machine. */
  webhookUrl: string;
  /** The public address, when a tunnel is known. */
  publicUrl: string | null;
  /** The first characters of the signing secret. */
  secretHint: string;
  /** `bun dev` generated the secret, so Clerk does not have it. */
  isDevSecret: boolean;
  handlersDir: string;
  /** Names of the events that `POST /api/send` can make. */
  samples: string[];
  /** The name of the project's folder. */
  project: string;
  /** The project's folder, for links that open an editor. Null unless only this machine's browsers are accepted. */
  root: string | null;
  /** A token is set, so the page offers to sign out. */
  signedIn: boolean;
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

/** The parameter `window` of `GET /api/health`. */
export type ChartWindow = "1h" | "24h" | "14d";

/**
 * `GET /api/health?window=24h`: figures of all servers in the last hour, day or two weeks, a number for each step, oldest
 * first. They outlive a restart.
 */
export interface HealthJson {
  /** Unix time in milliseconds at the beginning of the first step. */
  since: number;
  /** Milliseconds: a minute of an hour, a quarter of an hour of a day, an hour of two weeks. */
  step: number;
  deliveries: number[];
  failures: number[];
  /** Milliseconds from receipt to the end of the run, at most 10 % too high; null for a step without runs. */
  p50: (number | null)[];
  p99: (number | null)[];
  /**
   * The longest time in milliseconds that a run had waited when it began; the last one includes the runs that are waiting
   * now.
   */
  queueAge: number[];
  /** Runs that are not done now. Each count ends at 10,000 for a handler. */
  runs: Record<"waiting" | "retrying" | "running" | "parked" | "dead", number>;
  /** Unix time in milliseconds; null when there is no delivery. */
  lastDelivery: number | null;
  writable: boolean;
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

/** `GET /api/servers`: the servers that share the inbox. Empty with SQLite, where there is one. */
export interface ServerRowJson {
  id: string;
  /** The server that answers. */
  isThis: boolean;
  host: string;
  pid: number;
  version: string;
  startedAt: number;
  /** Runs in flight. */
  running: number;
  /** Milliseconds since its latest beat. */
  seenAgo: number;
  /** Handlers that it loads and the server that answers does not. */
  more: string[];
  /** Handlers that only the server that answers loads. */
  missing: string[];
}

/** `GET /api/refused`: the latest refused requests, newest first, and how many of each code. */
export interface RefusedJson {
  counts: Partial<Record<RefusalCode, number>>;
  latest: {
    code: RefusalCode;
    at: number;
    size: number;
    claimedId: string | null;
    /** The difference between its signed time and the server's clock, in seconds. */
    skewSeconds?: number;
    path?: string;
    rightPath?: string;
    proxied?: true;
    /** How a proxy has changed the body, if that explains the refusal. */
    change?: string;
  }[];
  /** The addresses with the most refused requests, see TRUST_PROXY. */
  addresses?: { address: string; count: number }[];
  /** For each code in `counts`. */
  explanations: Partial<Record<RefusalCode, { message: string; remedy: string }>>;
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

/** Why nothing can be replayed through a handler: the answer with status 409. */
export type HandlerTrouble =
  { error: "unknown_handler"; handlers: string[] } | { error: "not_loaded"; where: string; reason: string };
