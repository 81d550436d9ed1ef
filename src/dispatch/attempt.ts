// One attempt of one run: calls the handler within its timeout, commits its writes, and returns the outcome.
// Never throws. Any outcome but `done` means that nothing was or will be written.

import type { ClerkClient } from "@clerk/backend";

import type { ClerkEvent } from "../clerk/events.ts";
import type { Effects } from "../db/effects.ts";
import { attemptKey } from "../db/ledger.ts";
import type { Hindrance } from "../db/transaction.ts";
import { formatDuration, parseDuration } from "../duration.ts";
import { readError } from "../failures/error-record.ts";
import { createContext, createLog, type CurrentRun, currentRun } from "../handlers/context.ts";
import type { Code, Handler } from "../handlers/loader.ts";
import type { AttemptRecord, ClaimedRun, ErrorRecord, LogLine, Outcome } from "../inbox/inbox.ts";
import type { HandlerLog } from "../index.ts";
import type { AttemptTrace, TraceIds, Traces } from "../monitor/traces.ts";
import { isInnocent, nextAttempt, postponeDelay } from "./retry.ts";
import type { Timeout, Timeouts } from "./timeout.ts";
import type { Watchdog } from "./watchdog.ts";

const DEFAULT_TIMEOUT_MS = 30_000;

interface AttemptOptions {
  run: ClaimedRun;
  handler: Handler;
  /** The handler's code when the attempt begins. */
  code: Code;
  clerk: ClerkClient | undefined;
  effects: Effects;
  timeouts: Timeouts;
  watchdog: Watchdog;
  /** Aborted when the attempt has to end, because of a shutdown or a fence. It is then released. Default: `shutdown`. */
  ended?: AbortSignal;
  /** Aborted when the server stops waiting for the database. */
  shutdown: AbortSignal;
  now: () => number;
  /** Called when only a commit is left that other runs may share. */
  onWritten?: () => void;
  traces?: Traces | undefined;
  print: (line: LogLine, ids?: TraceIds) => void;
  /** An error that the handler's code threw after the attempt had ended. */
  onLate: (message: string) => void;
}

/**
 * Runs the handler once, and ignores its result after the timeout. Returns undefined when the server shut down before
 * the database confirmed the commit: the next start looks up the ledger.
 */
export async function runAttempt(options: AttemptOptions): Promise<Outcome | undefined> {
  const trace = options.traces?.attempt(options.run);
  const outcome = await tryOnce(options, trace);
  trace?.end(outcome);
  return outcome;
}

async function tryOnce(options: AttemptOptions, trace: AttemptTrace | undefined): Promise<Outcome | undefined> {
  const { run, handler, now } = options;
  const startedAt = now();
  const start = performance.now();
  const record = (lines: LogLine[], error?: ErrorRecord): AttemptRecord => ({
    startedAt,
    took: Math.round(performance.now() - start),
    ...(error && { error }),
    ...(lines.length > 0 && { log: lines }),
  });

  if (run.body === null) {
    const reason = "its payload was wiped: it contained a one-time code and is older than 24 hours";
    return { kind: "dead", reason, record: record([], { name: "Error", message: reason }) };
  }
  if (run.stale && handler.options.stale === "skip" && run.replay === "")
    return { kind: "skipped", reason: "stale: a later event of its subject is done", record: record([]) };

  const event = readEvent(run);
  const misfit = options.code.misfit?.(event.data);
  if (misfit) return { kind: "dead", reason: misfit, record: record([], { name: "DataError", message: misfit }) };

  const lines: LogLine[] = [];
  const failure = await callHandler(options, event, lines, trace);
  if ("wrote" in failure) return { kind: "done", record: record(lines), ...(failure.wrote && { wrote: true }) };
  if (failure.hindrance === "unknown") return undefined;
  if (failure.thrown === SHUTDOWN) return { kind: "released" };
  const { thrown, error } = readError(failure.thrown);
  if (isInnocent(run, failure.hindrance))
    // All runs that waited for one connection get the same error, with the stack of the first run.
    return { kind: "postponed", record: record(lines, withoutStack(error)), delay: postponeDelay(run) };
  const next = nextAttempt(run, handler, thrown, now());
  return "reason" in next
    ? { kind: "dead", ...next, record: record(lines, error) }
    : { kind: "retry", ...next, record: record(lines, error) };
}

const withoutStack = ({ name, message }: ErrorRecord) => ({ name, message });

const SHUTDOWN = new Error("the server is shutting down");

interface Failure {
  thrown: unknown;
  /** Why the handler was not at fault. */
  hindrance: Hindrance | undefined;
}

/** `wrote`: the handler has succeeded, and so has the commit of its writes, if it used `db`. */
async function callHandler(
  options: AttemptOptions,
  event: ClerkEvent,
  lines: LogLine[],
  trace: AttemptTrace | undefined,
): Promise<Failure | { wrote: boolean }> {
  const { run, handler, code, clerk, timeouts, shutdown, ended: stopped = shutdown, watchdog, print, onLate } = options;
  if (stopped.aborted) return { thrown: SHUTDOWN, hindrance: undefined };
  const handlerLog = createLog(trace ? (line) => print(line, trace.ids) : print);
  let ended = false;
  const current: CurrentRun = {
    handler: handler.name,
    delivery: run.delivery.id,
    log: handlerLog.log,
    fail: (message) => (ended ? onLate(message) : handlerLog.log.error("not caught:", message)),
  };
  const inRun = <T>(call: () => T) =>
    code.version.enter(() => currentRun.run(current, trace ? () => trace.enter(call) : call));
  const signal = createSignal(inRun);
  const { promise: returned, resolve, reject } = Promise.withResolvers<void>();
  const stop = (reason: Error) => {
    signal.abort(reason);
    reject(reason);
  };
  const limit = timeoutOf(handler);
  const timeout = timeouts.start(limit, (why) => stop(why === "late" ? new TimeoutError(limit) : SHUTDOWN));
  const transaction = lazily(() => createTransaction(options, limit, timeout, handlerLog.log, trace));
  const context = createContext({
    run,
    event,
    log: handlerLog.log,
    signal,
    get db() {
      const own = transaction.get();
      // The attempt ended before the transaction was created.
      if (ended) void own.rollback();
      return own.db;
    },
    clerk,
  });
  const releaseVersion = code.version.hold();
  const leaveWatchdog = watchdog.running(handler.name);
  try {
    // `async`, so that a returned query, which starts when it is awaited, runs in the run's context too.
    const result = watchdog.enter(handler.name, () => inRun(async () => code.run(context)));
    // A handler that fails after its timeout does not fail the run: `returned` has already rejected.
    result.then(() => (transaction.made ? transaction.made.finish().then(resolve, reject) : resolve()), reject);
    await returned;
    // A commit that has started can't be undone.
    timeout.cancel();
    if (transaction.made) await transaction.made.commit(shutdown);
    return { wrote: transaction.made?.used === true };
  } catch (thrown) {
    await transaction.made?.rollback();
    const hindrance = transaction.made?.hindrance;
    // An earlier attempt was committed after all: the run is done.
    return hindrance === "committed" ? { wrote: true } : { thrown, hindrance };
  } finally {
    ended = true;
    lines.push(...handlerLog.lines);
    releaseVersion();
    leaveWatchdog();
    timeout.cancel();
  }
}

function createTransaction(
  { run, effects, onWritten }: AttemptOptions,
  timeoutMs: number,
  timeout: Timeout,
  log: HandlerLog,
  trace: AttemptTrace | undefined,
) {
  return effects.transaction({
    ...(trace && { traceQuery: trace.query }),
    key: attemptKey(run),
    timeoutMs,
    ...(onWritten && { onWritten }),
    onWait: () => timeout.pause(),
    onLong: (time) =>
      log.warn(
        `db has been open for ${formatDuration(time)} and may block other handlers: do slow work before the first query`,
      ),
  });
}

/** Created at its first use: most handlers use neither the signal nor `db`. */
function lazily<T>(make: () => T) {
  return {
    made: undefined as T | undefined,
    get(): T {
      return (this.made ??= make());
    },
  };
}

/** Created in the run's context, because a listener's error goes to the context of its signal, and would end the host. */
function createSignal(inRun: <T>(call: () => T) => T) {
  const controller = lazily(() => inRun(() => new AbortController()));
  let aborted: Error | undefined;
  return {
    get signal() {
      const own = controller.get();
      if (aborted) own.abort(aborted);
      return own.signal;
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

function readEvent(run: ClaimedRun): ClerkEvent {
  const event = run.event ?? JSON.parse(new TextDecoder().decode(run.body as Uint8Array));
  return { ...event, timestamp: run.delivery.at } as ClerkEvent;
}

/** The attempt took longer than its handler's `timeout`. */
class TimeoutError extends Error {
  override name = "TimeoutError";

  constructor(limit: number) {
    super(`took longer than ${formatDuration(limit)}; raise it with on(event, { timeout: "2m" }, …)`);
  }
}
