// Counts deliveries, requests and runs, in memory since the server started: the only place that counts. The inspector,
// /metrics and the alerts read it. Constant work for each event, bounded memory, no I/O.

import type { RefusalCode } from "../errors.ts";
import type { Accepted, ClaimedRun, Outcome } from "../inbox/inbox.ts";
import { createDurations, type Durations, tenths } from "./durations.ts";
import type { History } from "./history.ts";

/** An answered request of the public port. */
export interface AnsweredRequest {
  method: string;
  /** Undefined for a path that is not served. */
  route: string | undefined;
  status: number;
  /** Milliseconds. */
  took: number;
}

export interface Metrics {
  /** A delivery was verified and answered. */
  delivered: (type: string, status: Accepted["status"]) => void;
  refused: (code: RefusalCode, count: number) => void;
  answered: (request: AnsweredRequest) => void;
  /** The end of an attempt was recorded. */
  ended: (run: ClaimedRun, outcome: Outcome) => void;
  /** The counts of a handler; zeros for an unknown one. */
  handler: (name: string) => HandlerCounts;
  readonly counts: Counts;
}

export interface HandlerCounts {
  /** Attempts that ended. */
  ran: number;
  failed: number;
  /** Durations of attempts, in milliseconds. */
  p50: number | null;
  p99: number | null;
  lastError: { at: number; delivery: string; message: string } | null;
}

/** Everything since the server started. */
export interface Counts {
  deliveries: ReadonlyMap<string, Readonly<Record<Accepted["status"], number>>>;
  refused: ReadonlyMap<RefusalCode, number>;
  requests: ReadonlyMap<string, Omit<AnsweredRequest, "took"> & { times: Durations }>;
  handlers: ReadonlyMap<string, HandlerRecord>;
}

export interface HandlerRecord {
  outcomes: Record<Outcome["kind"], number>;
  /** Durations of attempts. */
  durations: Durations;
  /** From the receipt of a delivery to its first attempt. */
  waits: Durations;
  lastError: HandlerCounts["lastError"];
}

// Bounds the memory and the series of /metrics, whatever is renamed in the folder while the server runs.
export const MAX_HANDLERS = 500;
// Clerk has about 80 event types.
const MAX_TYPES = 200;
/** The label of handlers and types above these limits. */
export const OTHER = "other";
const MAX_MESSAGE_CHARACTERS = 500;
// https://opentelemetry.io/docs/specs/semconv/http/http-metrics/: any other method is `_OTHER`.
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]);

/** `history` gets the figures of each minute. */
export function createMetrics(history: Pick<History, "current">, now: () => number = Date.now): Metrics {
  const deliveries = new Map<string, Record<Accepted["status"], number>>();
  const refused = new Map<RefusalCode, number>();
  const requests = new Map<string, Omit<AnsweredRequest, "took"> & { times: Durations }>();
  const handlers = new Map<string, HandlerRecord>();

  return {
    delivered(type, status) {
      boundedGet(deliveries, type, MAX_TYPES, () => ({ accepted: 0, duplicate: 0 }))[status] += 1;
      if (status === "accepted") history.current(now()).deliveries += 1;
    },
    refused: (code, count) => void refused.set(code, (refused.get(code) ?? 0) + count),
    answered({ method, route, status, took }) {
      const known = METHODS.has(method) ? method : "_OTHER";
      const key = `${known} ${status} ${route ?? ""}`;
      let found = requests.get(key);
      if (!found) requests.set(key, (found = { method: known, route, status, times: createDurations() }));
      found.times.record(took);
    },
    ended({ handler, attempt, replay, delivery }, outcome) {
      const counts = boundedGet(handlers, handler, MAX_HANDLERS, newHandler);
      const { kind } = outcome;
      counts.outcomes[kind] += 1;
      // An unreachable database is not the handler's failure, and a skipped run did not run.
      if (kind !== "done" && kind !== "retry" && kind !== "dead") return;
      const { startedAt, took, error } = outcome.record;
      const at = now();
      const minute = history.current(at);
      counts.durations.record(took);
      // Replays don't count in the time that a delivery takes.
      if (replay === "") {
        const wait = startedAt - delivery.receivedAt;
        if (attempt === 1) counts.waits.record(wait);
        if (attempt === 1) minute.longestWait = Math.max(minute.longestWait, wait);
        if (kind !== "retry") minute.times().record(at - delivery.receivedAt);
      }
      if (kind === "done") return;
      minute.failures += 1;
      counts.lastError = {
        at,
        delivery: delivery.id,
        message: (error?.message ?? "").slice(0, MAX_MESSAGE_CHARACTERS),
      };
    },
    handler(name) {
      const { outcomes, durations, lastError } = handlers.get(name) ?? NEVER_RAN;
      const failed = outcomes.retry + outcomes.dead;
      return {
        ran: outcomes.done + failed,
        failed,
        p50: tenths(durations.quantile(0.5)),
        p99: tenths(durations.quantile(0.99)),
        lastError,
      };
    },
    counts: { deliveries, refused, requests, handlers },
  };
}

function newHandler(): HandlerRecord {
  const outcomes = { done: 0, retry: 0, postponed: 0, dead: 0, skipped: 0, interrupted: 0, released: 0 };
  return { outcomes, durations: createDurations(), waits: createDurations(), lastError: null };
}

const NEVER_RAN = newHandler();

/** The value of a key, or of `other` when there are `limit` keys. */
function boundedGet<T>(map: Map<string, T>, key: string, limit: number, make: () => T): T {
  const known = map.get(key);
  if (known) return known;
  const label = map.size < limit ? key : OTHER;
  const value = map.get(label) ?? make();
  map.set(label, value);
  return value;
}
