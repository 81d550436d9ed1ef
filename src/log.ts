// The lines of the server's log. They identify deliveries, and never contain a body, a header or a secret.

import { COMMAND } from "./command.ts";
import { count } from "./count.ts";
import type { SchemaStep } from "./db/schema.ts";
import type { PauseChange } from "./dispatch/pauses.ts";
import { formatDuration } from "./duration.ts";
import { messageOf, refusals } from "./errors.ts";
import { errorSummary } from "./failures/error-record.ts";
import type { Change } from "./handlers/folder.ts";
import type { LoadError } from "./handlers/load-error.ts";
import type { Handler, HandlerTable } from "./handlers/loader.ts";
import type { Erasure } from "./inbox/erasure.ts";
import type { ClaimedRun, LogLine, NewRun, Outcome } from "./inbox/inbox.ts";
import type { ReplayCount } from "./inbox/views.ts";
import type { Logger } from "./logger.ts";
import type { DriftReport } from "./mirror/drift-schedule.ts";
import { describeSilence, type SilenceFacts } from "./monitor/silence.ts";
import type { TraceIds } from "./monitor/traces.ts";
import type { RefusedRequest } from "./receive/refused-requests.ts";
import type { ReceivedDelivery } from "./receive/server.ts";

export function logDelivery(log: Logger, { delivery, status, runs, took }: ReceivedDelivery) {
  const { id, type, subject, sample } = delivery;
  const fields = { id, type, subject, ms: Math.round(took * 10) / 10, ...(sample && { sample }) };
  log.info(fields, `${type} ${status === "duplicate" ? "is a duplicate" : describeStored(runs)}`);
}

export function describeStored(runs: readonly NewRun[]): string {
  if (runs.length === 0) return "stored, no handler for it yet";
  const parked = runs.filter((run) => run.parked).map(({ handler }) => handler);
  return parked.length === 0 ? "stored" : `stored; ${parked.join(", ")} does not load, and its run waits`;
}

export function logRefused(log: Logger, refused: RefusedRequest, count: number) {
  const { code, size, claimedId, address, skewSeconds, change, rightPath } = refused;
  const { status, message, remedy } = refusals[code];
  const skew = skewSeconds === undefined ? "" : ` (by ${formatDuration(Math.abs(skewSeconds) * 1_000)})`;
  const right = rightPath === undefined ? "" : ` (${rightPath})`;
  const fields = {
    code,
    status,
    count,
    size,
    id: claimedId,
    address,
    ...(skewSeconds !== undefined && { skewSeconds }),
  };
  if (change)
    return log.warn(
      { ...fields, change },
      `refused: the body was changed on the way: ${change}. The secret is right: make the proxy or the body parser in ` +
        "front of this port pass the bytes of the body on as they are",
    );
  log.warn(fields, `refused: ${message}${skew}${right}. ${remedy}`);
}

export function logOutcome(log: Logger, run: ClaimedRun, outcome: Outcome) {
  const { level, fields, text } = describeOutcome(run, outcome);
  log[level](fields, text);
}

/** Describes the outcome of an attempt: `user.created failed: the mailer is down; retrying in 5 s`. */
export function describeOutcome(
  { handler, delivery, spent }: ClaimedRun,
  outcome: Outcome,
): { level: "debug" | "info" | "warn" | "error"; fields: object; text: string } {
  const { id } = delivery;
  const of = { handler, id };
  switch (outcome.kind) {
    case "done":
      return { level: "info", fields: { ...of, ms: outcome.record.took }, text: `${handler} done` };
    case "skipped":
      return { level: "info", fields: of, text: `${handler} skipped: ${outcome.reason}` };
    case "retry": {
      const { error, took } = outcome.record;
      const fields = { ...of, ms: took, attempt: spent + 1, stack: error?.stack };
      const text = `${handler} failed: ${error && errorSummary(error)}; retrying in ${formatDuration(outcome.delay)}`;
      return { level: "warn", fields, text };
    }
    case "dead": {
      const { error } = outcome.record;
      const fields = { ...of, attempt: spent + 1, stack: error?.stack };
      // Only this handler: others may have succeeded, and a replay would repeat their effects outside of `db`.
      const how = delivery.sensitive
        ? "its payload contained a one-time code and is deleted, so it can't be replayed"
        : `when it is fixed: ${COMMAND} replay ${id} --handler ${shellWord(handler)}`;
      const text = `${handler} is dead: ${outcome.reason}: ${error && errorSummary(error)}; ${how}`;
      return { level: "error", fields, text };
    }
    case "postponed": {
      const why = outcome.probe ? "the breaker has tried it, and it still fails" : "the database is unavailable";
      const reason = `${why}: ${outcome.record.error?.message}`;
      // The outage itself is logged once. At a higher level, each waiting run would repeat it every few seconds.
      const text = `${handler} waits: ${reason}; retrying in ${formatDuration(outcome.delay)}`;
      return { level: "debug", fields: of, text };
    }
    case "interrupted": {
      const text = `${handler} was interrupted by a crash; retrying in ${formatDuration(outcome.delay)}`;
      return { level: "warn", fields: of, text };
    }
  }
  return { level: "info", fields: of, text: `${handler} was interrupted; its run is started again` };
}

/** The files of a folder that a person has to look at, when a server starts. */
export function logTable(log: Logger, dir: string, { handlers, notHandlers }: HandlerTable) {
  for (const handler of handlers) {
    if (handler.error) logChange(log, dir, { kind: "broken", handler });
    if (handler.warning) log.warn(`${dir}/${handler.file}: ${handler.warning}`);
  }
  for (const { file, reason, quiet } of notHandlers) if (!quiet) logChange(log, dir, { kind: "ignored", file, reason });
}

/** One readable line for each change of the folder. */
export function logChange(log: Logger, dir: string, change: Change) {
  if (change.kind === "ignored")
    return log.warn(
      change.file === dir ? `${dir} ${change.reason}` : `${dir}/${change.file} is not a handler: ${change.reason}`,
    );
  // Logged when it is applied.
  if (change.kind === "schema") return;
  if (change.kind === "dead") return logDeadFile(log, dir, change);
  const { file, error, warning, code } = change.handler;
  if (change.kind === "gone") return log.info(`${dir}/${file} is gone: its runs wait for it`);
  if (change.kind === "live") {
    log.info(`${dir}/${file} is live${change.isNew ? "" : " again"}`);
    if (warning) log.warn(`${dir}/${file}: ${warning}`);
    return;
  }
  const meanwhile = code ? "the last good version still runs" : "its runs wait for it";
  log.error(formatLoadError(dir, file, meanwhile, error));
}

function logDeadFile(log: Logger, dir: string, { file, is, error, goesOn }: Change & { kind: "dead" }) {
  if (is === "live") return log.info(`${dir}/${file} is live: it is called for each dead run`);
  if (is === "gone") return log.info(`${dir}/${file} is gone: dead runs are only logged`);
  const meanwhile = goesOn ? "the last good version still runs" : "dead runs are only logged";
  log.error(formatLoadError(dir, file, meanwhile, error));
}

export function logDeadError(log: Logger, dir: string, error: unknown, retryMs: number | undefined) {
  const next = retryMs === undefined ? "it is not called again for this run" : `retrying in ${formatDuration(retryMs)}`;
  log.error({ err: error }, `${dir}/_dead.ts failed; ${next}`);
}

/** Logs that a message to a person was not accepted. Its address is a secret, so only the host is logged. */
export function logAlertFailure(log: Logger, target: string, error: Error, retryMs: number | undefined) {
  const next = retryMs === undefined ? "the message is dropped" : `retrying in ${formatDuration(retryMs)}`;
  log.error({ target }, `an alert to ${target} could not be sent: ${error.message}; ${next}`);
}

/** The error may be in a file that this one imports. */
function formatLoadError(dir: string, file: string, meanwhile: string, error: LoadError | undefined): string {
  const { where = file, message, source } = error ?? {};
  const isOwn = where.startsWith(file);
  const reason = `${isOwn ? "" : `${dir}/${where}: `}${message}${source ? `\n    ${source}` : ""}`;
  return `${dir}/${isOwn ? where : file} does not load, ${meanwhile}: ${reason}`;
}

/** A handler's name in a shell command, quoted because zsh would expand a `*` or brackets in it. */
function shellWord(handler: string): string {
  return /[^\w./-]/.test(handler) ? `'${handler}'` : handler;
}

/** Deliveries that a new handler missed because they were received before its file was added, and how to run them. */
export function logMissed(log: Logger, { name, event }: Handler, { found, more }: ReplayCount) {
  if (found === 0) return;
  const stored = count(found, "stored delivery", more ? "or more stored deliveries" : "stored deliveries");
  const word = shellWord(name);
  const of = event === "*" ? "" : ` of ${event}`;
  log.info(`${stored}${of} never went through ${name}. To run them: ${COMMAND} replay --handler ${word} --missing`);
}

/** Logs runs whose handler no server has. */
export function logParked(log: Logger, { handler, count: runs }: { handler: string; count: number }) {
  log.warn(
    { handler, count: runs },
    `${count(runs, "run waits", "runs wait")} for ${handler}, which no server has, and will be skipped after 24 h. Put ` +
      `its file back; or if it was renamed: ${COMMAND} replay --handler <its new name> --missing`,
  );
}

/** Logs that a part of the schema was applied, or why not. */
export function logSchema(log: Logger, dir: string, { of, name, mistake }: SchemaStep, { isStarting = false } = {}) {
  if (mistake !== undefined) return log.error(of === "tables" ? messageOf(mistake) : `${dir}/${messageOf(mistake)}`);
  // `_schema.sql` is applied at each start, a migration only once.
  if (of !== "tables") log[isStarting && of === "schema" ? "debug" : "info"](`${dir}/${name} is applied`);
}

/** Logs the result of a scheduled comparison with Clerk. */
export function logDrift(log: Logger, { tables, differences }: DriftReport) {
  const compared = count(
    tables.reduce((sum, table) => sum + table.compared, 0),
    "object",
  );
  if (differences === 0) return log.info(`the mirror agrees with Clerk: ${compared} compared`);
  const where = tables.filter((table) => table.differences > 0).map((table) => `${table.name} ${table.differences}`);
  log.warn(
    { differences },
    `the mirror differs from Clerk in ${count(differences, "row")} (${where.join(", ")}). To list them: ${COMMAND} drift; to ` +
      `repair them: ${COMMAND} drift --fix`,
  );
}

/** Logs the receipt of an erasure: an id, and no data of the user. */
export function logErased(log: Logger, { user, deliveries, elsewhere }: Erasure) {
  log.info({ user, deliveries, ...elsewhere }, `${user} is erased from ${count(deliveries, "delivery", "deliveries")}`);
}

/** Logs that a handler is paused: when it happens, and at each start. */
export function logPaused(log: Logger, { handler, cause, reason }: PauseChange) {
  const why = reason === null ? "" : `: ${reason}`;
  const until =
    cause === "breaker" ? "one run is tried from time to time" : `to continue: ${COMMAND} resume ${shellWord(handler)}`;
  log.warn(
    { handler },
    `${handler} is paused by ${cause === "breaker" ? "the breaker" : "a person"}${why}. Its runs wait; ${until}`,
  );
}

export function logResumed(log: Logger, { handler, cause }: PauseChange) {
  const why = cause === "breaker" ? ", which the breaker had paused," : "";
  log.info({ handler }, `${handler}${why} continues`);
}

/** Logs the beginning and the end of an outage of the handlers' database. */
export function logDatabaseTrouble(log: Logger, where: string, reason: unknown) {
  if (reason === undefined) return log.info(`the database can be reached again: ${where}`);
  log.error(
    `the database can't be reached: ${inPlace(where, reason)}. Handlers that use db wait for it, and lose no attempt`,
  );
}

/** Logs runs whose effects the handlers' database lacks, as after one database was restored from an older backup. */
export function logLost(log: Logger, where: string, lost: number) {
  const what = count(lost, "run is done, and what it wrote is", "runs are done, and what they wrote is");
  log.warn(`${what} not in ${where}: was an older backup restored? To replay them: ${COMMAND} replay --lost`);
}

/** Logs that more transactions are requested than SQLite's one writer can finish. */
export function logQueue(log: Logger, waiting: number) {
  const remedy = "keep transactions short (slow work before the first query), or use Postgres";
  log.warn({ waiting }, `${waiting} runs wait to write to the database: ${remedy}`);
}

/** Logs the beginning and the end of an outage of the inbox, one line each, however many deliveries are refused. */
export function logInboxTrouble(log: Logger, where: string, reason: unknown) {
  if (reason === undefined) return log.info(`the inbox can be written again: ${where}`);
  log.error(
    `the inbox can't be written: ${inPlace(where, reason)}. Until it can be, deliveries get 503, and Svix retries them`,
  );
}

/** Some reasons begin with the path already. */
function inPlace(where: string, reason: unknown): string {
  const message = messageOf(reason);
  return message.startsWith(where) ? message : `${where}: ${message}`;
}

/** Logs that this server is fenced, with the reason, or no longer is. */
export function logFenced(log: Logger, reason: string | undefined) {
  if (reason === undefined) return log.info("this server has joined the servers of its inbox again");
  log.error(
    `this server may be taken for dead: ${reason}. Its runs were stopped, deliveries get 503, and it continues by itself`,
  );
}

/** Logs that no delivery comes any more, although some should, and when the silence is over. */
export function logSilence(log: Logger, isSilent: boolean, facts: SilenceFacts) {
  const { silentMs, lastDelivery } = facts;
  const fields = { silentSeconds: Math.round(silentMs / 1_000), lastDelivery };
  if (!isSilent) return log.info(fields, `a delivery was received again, after ${formatDuration(silentMs)}`);
  log.error(
    fields,
    `${describeSilence(facts)}. Is the endpoint still enabled? Clerk Dashboard, Webhooks, your endpoint, Message Attempts`,
  );
}

/** Logs that HEARTBEAT_URL can't be pinged, once, and that it can again. */
export function logHeartbeat(log: Logger, reason: string | undefined) {
  if (reason === undefined) return log.info("HEARTBEAT_URL can be pinged again");
  log.warn(`HEARTBEAT_URL can't be pinged: ${reason}; retrying every minute`);
}

export function logHandlerLine(
  log: Logger,
  { handler, delivery }: ClaimedRun,
  { level, message }: LogLine,
  ids?: TraceIds,
) {
  log[level]({ handler, id: delivery.id, ...ids }, `${handler}: ${message}`);
}
