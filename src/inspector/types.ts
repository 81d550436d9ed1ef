// What the inspector's API says, as JSON: the page is written against these shapes, and the routes are held to them.

import type { RefusalCode } from "../errors.ts";
import type { AttemptRecord } from "../inbox/inbox.ts";
import type { DeliverySummary, DeliveryView, RunView } from "../inbox/queries.ts";

/** A place in somebody's code, with its line. */
export interface CodeFrame {
  /** From the project's folder: `handlers/user.created.ts`. */
  file: string;
  line: number;
  column: number;
  /** A few lines around it; `number` counts from 1. */
  source: { number: number; text: string }[];
  /** The file was saved after the attempt had begun: it may have been other code that threw. */
  changed?: boolean;
}

export interface AttemptJson extends AttemptRecord {
  attempt: number;
  outcome: string;
  /** Where the error was thrown: the first frame that is the user's own. Null when there is none, or no source. */
  frame: CodeFrame | null;
}

export interface RunJson extends Omit<RunView, "attempts"> {
  attempts: AttemptJson[];
}

/** `GET /api/deliveries/:id?payload=true`. */
export interface DeliveryJson extends Omit<DeliveryView, "body" | "runs"> {
  runs: RunJson[];
  /** The signature was checked when it came, or it would not be here: which header had the matching entry. */
  verified: true;
  /** When asked for: the text as it came, or null when it is gone. */
  payload?: string | null;
  /** When asked for: paths in it that are hidden until somebody wants to see them: `data.code`. */
  hidden?: string[];
}

/** `GET /api/server`. */
export interface ServerJson {
  pid: number;
  mode: "dev" | "start";
  /** Where Clerk's requests come in, on this machine. */
  webhookUrl: string;
  /** The public address, when a tunnel is known. */
  publicUrl: string | null;
  /** The first characters of the signing secret. */
  secretHint: string;
  /** The secret was made by `bun dev`: Clerk does not know it. */
  secretIsOurs: boolean;
  handlersDir: string;
  /** Names of the events that `POST /api/send` can make. */
  samples: string[];
  /** A token is set: the page has a way to sign out. */
  signedIn: boolean;
}

/** One message of `GET /api/feed`, as the `data` of a server-sent event of that name. Its `id` is what a new connection goes on from. */
export interface FeedEvents {
  /** Deliveries that are new, or whose runs have changed; whole summaries, at most one for each delivery. */
  deliveries: DeliverySummary[];
  /**
   * Too much happened to send it one by one: so many deliveries since the last message. The list is to be asked for again.
   * A new stream begins with one of none: what was listed before may be older than the stream.
   */
  summary: { deliveries: number; runs: number };
  handlers: HandlerJson[];
  health: HealthJson;
}

/** `GET /api/health`: the last hour, a number for each of its minutes, oldest first. */
export interface HealthJson {
  /** Unix time in milliseconds at the beginning of the first minute. */
  since: number;
  deliveries: number[];
  failures: number[];
  /** Milliseconds from receipt to the end of the run; null in a minute without runs. */
  p50: (number | null)[];
  p99: (number | null)[];
  /**
   * The age of the oldest run that was due and did not run, in milliseconds, at the worst of each minute: of those that
   * began in it, and for the last one of those that wait now.
   */
  queueAge: number[];
  writable: boolean;
}

/** `GET /api/handlers`. */
export interface HandlerJson {
  name: string;
  file: string;
  event: string;
  lane: string;
  options: { attempts?: number; timeout?: number | string; stale?: string };
  /** Its file as it is now does not load. */
  error: { where: string; message: string; source: string | null } | null;
  /** An earlier version of it goes on. */
  goesOn: boolean;
  warning: string | null;
  /** Since the server started: attempts that ended. */
  ran: number;
  failed: number;
  /** Milliseconds that an attempt takes. */
  p50: number | null;
  p99: number | null;
  lastError: { at: number; delivery: string; message: string } | null;
}

/** `GET /api/refused`: the last ones, newest first, and how many of each code. */
export interface RefusedJson {
  counts: Partial<Record<RefusalCode, number>>;
  latest: { code: RefusalCode; at: number; size: number; claimedId: string | null }[];
  /** By code, in words. */
  says: Partial<Record<RefusalCode, { says: string; remedy: string }>>;
}

/** `GET /api/search`: free text through the newest deliveries. */
export interface SearchJson {
  deliveries: DeliverySummary[];
  /** How many were looked through so far, the pages before included. */
  looked: number;
  /** Where to search on; null at the end. */
  next: number | null;
}

/** `POST /api/send`. */
export interface SentJson {
  id: string;
  status: number;
}
