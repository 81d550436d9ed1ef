// One attempt of one run: calls the handler within its time-out, commits what it wrote, and says how it ended.
// It never throws. When it says anything but done, nothing was written, and nothing will be.

import type { ClerkClient } from "@clerk/backend";

import type { HandlerLog } from "../bellhop.ts";
import type { ClerkEvent } from "../clerk/events.ts";
import { formatDuration, parseDuration } from "../duration.ts";
import { createContext, createLog, type CurrentRun, currentRun } from "../handlers/context.ts";
import type { Code, Handler } from "../handlers/loader.ts";
import type { AttemptRecord, LogLine, Outcome, Ticket } from "../inbox/inbox.ts";
import { type Effects, type Hindrance, ledgerKey } from "./effects.ts";
import { nextAttempt, postponeDelay } from "./retry.ts";
import { type ErrorRecord, readError } from "./thrown.ts";
import type { Timeout, Timeouts } from "./timeout.ts";
import type { Watchdog } from "./watchdog.ts";

const DEFAULT_TIMEOUT_MS = 30_000;

interface AttemptOptions {
  ticket: Ticket;
  handler: Handler;
  /** The code to run, of the version that the attempt begins with. */
  code: Code;
  clerk: ClerkClient | undefined;
  effects: Effects;
  timeouts: Timeouts;
  watchdog: Watchdog;
  /** Aborted when the server does not wait any longer: the attempt is given back. */
  shutdown: AbortSignal;
  now: () => number;
  print: (line: LogLine) => void;
  /** An error that the handler's code threw after the attempt had ended. */
  onLate: (says: string) => void;
}

/**
 * Runs the handler once. A handler that goes on after its time-out is left alone; what it returns counts no more.
 * Undefined: the server shut down before the database said whether it had committed; the next start asks.
 */
export async function runAttempt(options: AttemptOptions): Promise<Outcome | undefined> {
  const { ticket, handler, now } = options;
  const startedAt = now();
  const began = performance.now();
  const record = (lines: LogLine[], error?: ErrorRecord): AttemptRecord => ({
    startedAt,
    took: Math.round(performance.now() - began),
    ...(error && { error }),
    ...(lines.length > 0 && { log: lines }),
  });

  if (ticket.body === null) {
    const reason = "its payload was wiped: it carried a one-time code, and 24 hours are over";
    return { kind: "dead", reason, record: record([], { name: "Error", message: reason }) };
  }
  if (ticket.stale && handler.options.stale === "skip" && ticket.replay === "")
    return { kind: "skipped", reason: "stale: a later event of its subject is done", record: record([]) };

  const event = readEvent(ticket);
  const misfit = options.code.misfit?.(event.data);
  if (misfit) return { kind: "dead", reason: misfit, record: record([], { name: "DataError", message: misfit }) };

  const lines: LogLine[] = [];
  const failure = await callHandler(options, event, lines);
  if (!failure) return { kind: "done", record: record(lines) };
  if (failure.hindrance === "unknown") return undefined;
  if (failure.thrown === SHUTDOWN) return { kind: "released" };
  const { thrown, error } = readError(failure.thrown);
  if (failure.hindrance === "unreachable")
    // All who waited for one connection get one error, with the stack of whoever was first.
    return { kind: "postponed", record: record(lines, withoutStack(error)), delay: postponeDelay(ticket) };
  const again = nextAttempt(ticket, handler, thrown, now());
  return "reason" in again
    ? { kind: "dead", ...again, record: record(lines, error) }
    : { kind: "retry", ...again, record: record(lines, error) };
}

const withoutStack = ({ name, message }: ErrorRecord) => ({ name, message });

const SHUTDOWN = new Error("the server shuts down");

interface Failure {
  thrown: unknown;
  /** The handler was not at fault. */
  hindrance: Hindrance | undefined;
}

async function callHandler(options: AttemptOptions, event: ClerkEvent, lines: LogLine[]): Promise<Failure | undefined> {
  const { ticket, handler, code, clerk, timeouts, shutdown, watchdog, print, onLate } = options;
  if (shutdown.aborted) return { thrown: SHUTDOWN, hindrance: undefined };
  const made = createLog(print);
  let ended = false;
  const run: CurrentRun = {
    handler: handler.name,
    delivery: ticket.delivery.id,
    log: made.log,
    fail: (says) => (ended ? onLate(says) : made.log.error("not caught:", says)),
  };
  const inRun = <T>(call: () => T) => code.version.enter(() => currentRun.run(run, call));
  const signal = createSignal(inRun);
  const { promise: over, resolve, reject } = Promise.withResolvers<void>();
  const stop = (reason: Error) => {
    signal.abort(reason);
    reject(reason);
  };
  const limit = timeoutOf(handler);
  const timeout = timeouts.start(limit, (why) => stop(why === "late" ? new TimeoutError(limit) : SHUTDOWN));
  const transaction = lazily(() => beginning(options, limit, timeout, made.log));
  const context = createContext({
    ticket,
    event,
    log: made.log,
    signal,
    get db() {
      const its = transaction.get();
      // It was not there to be ended.
      if (ended) void its.rollback();
      return its.db;
    },
    clerk,
  });
  const letGo = code.version.hold();
  const left = watchdog.running(handler.name);
  try {
    // In its own context also when it returns what only begins to work when it is awaited, as a query.
    const result = watchdog.enter(handler.name, () => inRun(async () => code.run(context)));
    // What a handler does after it was cut off is nobody's failure any more: then nobody listens.
    result.then(() => (transaction.made ? transaction.made.finish().then(resolve, reject) : resolve()), reject);
    await over;
    // A commit that is under way can't be taken back.
    timeout.cancel();
    if (transaction.made) await transaction.made.commit(shutdown);
    return undefined;
  } catch (thrown) {
    await transaction.made?.rollback();
    const hindrance = transaction.made?.hindrance;
    // An earlier attempt was committed after all: the run is done.
    return hindrance === "committed" ? undefined : { thrown, hindrance };
  } finally {
    ended = true;
    lines.push(...made.lines);
    letGo();
    left();
    timeout.cancel();
  }
}

function beginning({ ticket, effects }: AttemptOptions, timeoutMs: number, timeout: Timeout, log: HandlerLog) {
  return effects.transaction({
    key: ledgerKey(ticket),
    attempt: ticket.attempt,
    timeoutMs,
    onWait: () => timeout.pause(),
    onLong: (time) =>
      log.warn(
        `db has been open for ${formatDuration(time)}, and other handlers may wait for it: slow things first, db last`,
      ),
  });
}

/** Made when it is looked at: most handlers want neither a signal nor a transaction. */
function lazily<T>(make: () => T) {
  return {
    made: undefined as T | undefined,
    get(): T {
      return (this.made ??= make());
    },
  };
}

/** Made in the run, since what a listener throws goes to where its signal was made: in the host it would end the process. */
function createSignal(inRun: <T>(call: () => T) => T) {
  const controller = lazily(() => inRun(() => new AbortController()));
  let aborted: Error | undefined;
  return {
    get signal() {
      const its = controller.get();
      if (aborted) its.abort(aborted);
      return its.signal;
    },
    abort(reason: Error) {
      aborted ??= reason;
      inRun(() => controller.made?.abort(reason));
    },
  };
}

function timeoutOf({ options: { timeout } }: Handler): number {
  return timeout === undefined ? DEFAULT_TIMEOUT_MS : parseDuration(timeout);
}

function readEvent(ticket: Ticket): ClerkEvent {
  const event = ticket.event ?? JSON.parse(new TextDecoder().decode(ticket.body as Uint8Array));
  return { ...event, timestamp: ticket.delivery.at } as ClerkEvent;
}

/** The attempt took longer than its handler's `timeout`. */
class TimeoutError extends Error {
  override name = "TimeoutError";

  constructor(limit: number) {
    super(`took longer than ${formatDuration(limit)}; raise it with on(event, { timeout: "2m" }, …)`);
  }
}
