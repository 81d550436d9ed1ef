// The server's log: pretty for people in dev, JSON lines in start. The only file that imports pino.
// Says what happened to which delivery; never a body, a header or a secret.

import { AsyncLocalStorage } from "node:async_hooks";

import pino, { type Logger } from "pino";

import type { Config } from "./config.ts";
import { readError } from "./dispatch/thrown.ts";
import { formatDuration } from "./duration.ts";
import { refusals } from "./errors.ts";
import type { LoadError } from "./handlers/errors.ts";
import type { Change } from "./handlers/folder.ts";
import type { Handler } from "./handlers/loader.ts";
import type { LogLine, Missing, NewRun, Outcome, Ticket } from "./inbox/inbox.ts";
import type { ReceivedDelivery } from "./receive/app.ts";
import type { RefusedRequest } from "./receive/refusals.ts";

export type { Logger } from "pino";

// A handler may be what logs: what is scheduled in its context would end with its version.
const asHost = AsyncLocalStorage.snapshot();

export async function createLogger({ logFormat, logLevel }: Pick<Config, "logFormat" | "logLevel">): Promise<Logger> {
  const options = {
    level: logLevel,
    base: null,
    timestamp: timestamps(),
    serializers: { err: errorOf },
  };
  if (logFormat === "json") return pino(options, linesOfATurn());
  const { default: pretty } = await import("pino-pretty");
  return pino(options, pretty({ sync: true, translateTime: "SYS:HH:MM:ss", singleLine: true, ignore: "stack,code" }));
}

/** Standard output, written once for all lines of a turn: a write for each would cost more than a signature does. */
function linesOfATurn() {
  const output = pino.destination({ sync: true });
  let lines = "";
  const flush = () => {
    const all = lines;
    lines = "";
    if (all !== "") output.write(all);
  };
  process.on("exit", flush);
  return {
    write(line: string) {
      if (lines === "") asHost(() => setImmediate(flush));
      lines += line;
    },
  };
}

/** Times as ISO 8601: in a busy millisecond, one text for all. */
function timestamps(): () => string {
  let [last, text] = [0, ""];
  return () => {
    const now = Date.now();
    if (now !== last) text = `,"time":"${new Date(now).toISOString()}"`;
    last = now;
    return text;
  };
}

export function logDelivery(log: Logger, { delivery, status, runs, took }: ReceivedDelivery) {
  const { id, type, subject, sample } = delivery;
  const fields = { id, type, subject, ms: Math.round(took * 10) / 10, ...(sample && { sample }) };
  log.info(fields, `${type} ${status === "duplicate" ? "came again" : describeStored(runs)}`);
}

function describeStored(runs: readonly NewRun[]): string {
  if (runs.length === 0) return "stored, no handler for it yet";
  const parked = runs.filter((run) => run.parked).map(({ handler }) => handler);
  return parked.length === 0 ? "stored" : `stored; ${parked.join(", ")} does not load, and its run waits`;
}

export function logRefused(log: Logger, refused: RefusedRequest, count: number) {
  const { code, size, claimedId, skewSeconds, rightPath } = refused;
  const { status, says, remedy } = refusals[code];
  const skew = skewSeconds === undefined ? "" : ` (by ${formatDuration(Math.abs(skewSeconds) * 1_000)})`;
  const right = rightPath === undefined ? "" : ` (${rightPath})`;
  const fields = { code, status, count, size, id: claimedId, ...(skewSeconds !== undefined && { skewSeconds }) };
  log.warn(fields, `refused: ${says}${skew}${right}. ${remedy}`);
}

export function logOutcome(log: Logger, { handler, delivery: { id }, spent }: Ticket, outcome: Outcome) {
  const of = { handler, id };
  switch (outcome.kind) {
    case "done":
      return log.info({ ...of, ms: outcome.record.took }, `${handler} done`);
    case "skipped":
      return log.info(of, `${handler} skipped: ${outcome.reason}`);
    case "retry": {
      const { error, took } = outcome.record;
      const fields = { ...of, ms: took, attempt: spent + 1, stack: error?.stack };
      return log.warn(
        fields,
        `${handler} failed: ${error?.message}; goes again in ${formatDuration(outcome.delay)}${frame(error)}`,
      );
    }
    case "dead": {
      const { error } = outcome.record;
      const fields = { ...of, attempt: spent + 1, stack: error?.stack };
      const how = `when it is mended: bun replay ${id}`;
      return log.error(fields, `${handler} is dead: ${outcome.reason}: ${error?.message}; ${how}${frame(error)}`);
    }
    case "postponed": {
      const says = `the database can't be had: ${outcome.record.error?.message}`;
      // That it is away is told once; each run of many would say so every few seconds.
      return log.debug(of, `${handler} waits: ${says}; goes again in ${formatDuration(outcome.delay)}`);
    }
    case "interrupted":
      return log.warn(of, `${handler} was interrupted by a crash; goes again in ${formatDuration(outcome.delay)}`);
    case "released":
      return log.info(of, `${handler} was interrupted by the shutdown; goes again after the start`);
  }
}

/** One readable line for each change of the folder. */
export function logChange(log: Logger, dir: string, change: Change) {
  if (change.kind === "ignored")
    return log.warn(
      change.file === dir ? `${dir} ${change.reason}` : `${dir}/${change.file} is no handler: ${change.reason}`,
    );
  // Told when it is applied.
  if (change.kind === "schema") return;
  if (change.kind === "dead") return logDeadFile(log, dir, change);
  const { file, error, warning, code } = change.handler;
  if (change.kind === "gone") return log.info(`${dir}/${file} is gone: its runs wait for it`);
  if (change.kind === "live") {
    log.info(`${dir}/${file} is live${change.isNew ? "" : " again, as it is now"}`);
    if (warning) log.warn(`${dir}/${file}: ${warning}`);
    return;
  }
  const meanwhile = code ? "the last good version goes on" : "its runs wait for it";
  log.error(describeSlip(dir, file, meanwhile, error));
}

function logDeadFile(log: Logger, dir: string, { file, is, error, goesOn }: Change & { kind: "dead" }) {
  if (is === "live") return log.info(`${dir}/${file} is live: it is told of each run that dies`);
  if (is === "gone") return log.info(`${dir}/${file} is gone: nobody is told of runs that die`);
  const meanwhile = goesOn ? "the last good version goes on" : "nobody is told of runs that die";
  log.error(describeSlip(dir, file, meanwhile, error));
}

/** The mistake may be in a file that this one imports. */
function describeSlip(dir: string, file: string, meanwhile: string, error: LoadError | undefined): string {
  const { where = file, message, source } = error ?? {};
  const isOwn = where.startsWith(file);
  const says = `${isOwn ? "" : `${dir}/${where}: `}${message}${source ? `\n    ${source}` : ""}`;
  return `${dir}/${isOwn ? where : file} does not load, ${meanwhile}: ${says}`;
}

/** What a new handler never saw, and how to run it through: it came before the file. */
export function logMissing(log: Logger, { name, event }: Handler, { found, more }: Missing) {
  if (found === 0) return;
  const stored = `${found.toLocaleString("en")}${more ? " or more" : ""} stored ${found === 1 ? "delivery" : "deliveries"}`;
  // zsh takes the brackets of a pattern's name for a pattern of its own.
  const word = name.includes("[") ? `'${name}'` : name;
  const of = event === "*" ? "" : ` of ${event}`;
  log.info(`${stored}${of} never went through ${name}. To run them: bun replay --handler ${word} --missing`);
}

/** Whether `_schema.sql` went through. */
export function logSchema(log: Logger, dir: string, of: "text" | "tables", mistake?: unknown) {
  if (of === "tables") return mistake === undefined ? undefined : log.error(messageOf(mistake));
  if (mistake === undefined) return log.info(`${dir}/_schema.sql is applied`);
  log.error(`${dir}/_schema.sql is not applied, not even in part: ${messageOf(mistake)}`);
}

/** When the handlers' database can't be reached, and when it can again. */
export function logDatabaseTrouble(log: Logger, reason: unknown) {
  if (reason === undefined) return log.info("the database can be reached again");
  log.error(
    `the database can't be reached: ${messageOf(reason)}. Handlers that use db wait for it, and lose no attempt`,
  );
}

/** More transactions are asked for than SQLite's one writer ends. */
export function logQueue(log: Logger, waiting: number) {
  const remedy = "keep transactions short (slow things first, db last), or use Postgres";
  log.warn({ waiting }, `${waiting} runs wait for their turn to write to the database: ${remedy}`);
}

/** When the disk refuses, and when it takes again: a line each, however many deliveries were refused meanwhile. */
export function logInboxTrouble(log: Logger, reason: unknown) {
  if (reason === undefined) return log.info("the inbox can be written again");
  const says = messageOf(reason);
  log.error(`the inbox can't be written: ${says}. Deliveries get 503, and Svix sends them again; it goes on by itself`);
}

export function logHandlerLine(log: Logger, { handler, delivery }: Ticket, { level, message }: LogLine) {
  log[level]({ handler, id: delivery.id }, `${handler}: ${message}`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : Bun.inspect(error);
}

/** Where it was thrown: the first line of the stack that is not Bellhop's or Bun's. */
function frame(error: { stack?: string } | undefined): string {
  const line = error?.stack
    ?.split("\n")
    .find((each) => /\/.+:\d+:\d+/.test(each) && !each.includes(`${import.meta.dir}/`));
  return line ? ` (${line.trim()})` : "";
}

/** Of an error, only what an error is made of: a handler may have hung a payload on it, and looking at it may throw. */
function errorOf(thrown: unknown) {
  const { name: type, ...error } = readError(thrown).error;
  return { type, ...error };
}
