// Converts a thrown value of any shape to a bounded error record with its causes, and formats it.

import { relative } from "node:path";

import { isHostFrame, SOURCE } from "../host-frames.ts";
import type { ErrorCause, ErrorRecord } from "../inbox/inbox.ts";

// An error may be its own cause.
const MAX_CAUSES = 8;
const MAX_NAME = 200;
const MAX_MESSAGE = 10_000;
const MAX_CAUSE_MESSAGE = 1_000;
const MAX_STACK = 20_000;

/** Never throws: a handler can throw anything, even a value that throws when it is read, and its run must still end. */
export function readError(thrown: unknown): { thrown: unknown; error: ErrorRecord } {
  try {
    return { thrown, error: errorRecord(thrown) };
  } catch {
    return { thrown: undefined, error: { name: "Thrown", message: "a value that throws when it is inspected" } };
  }
}

/** The text of an uncaught error, whatever its shape. */
export function errorText(thrown: unknown): string {
  const { name, message, stack, causes = [] } = readError(thrown).error;
  return [stack ?? `${name}: ${message}`, ...causes.map(causeText)].join("\n");
}

/** An error for people: the first lines of its stack, and its causes. */
export function errorLines({ message, stack, causes = [] }: ErrorRecord): string[] {
  return [...(stack ?? message).split("\n").slice(0, 6), ...causes.map(causeText)];
}

/** One line of text: the message, its causes, and the line of the user's code. */
export function errorSummary(error: ErrorRecord): string {
  const causes = (error.causes ?? []).map(({ name, message }) => `; caused by ${name}: ${message}`);
  const at = placeOf(error);
  return `${error.message || error.name}${causes.join("")}${at ? ` (at ${shownPlace(at)})` : ""}`;
}

/** The line of the user's code that threw, or that caused it: `/app/handlers/user.created.ts:3:15`. */
export function placeOf({ stack = "", causes = [] }: ErrorRecord): string | undefined {
  return ownFrame(stack) ?? causes.find(({ at }) => at !== undefined)?.at;
}

function causeText({ name, message, at }: ErrorCause): string {
  return `caused by ${name}: ${message}${at ? ` (at ${shownPlace(at)})` : ""}`;
}

/** From the directory of the process. */
export function shownPlace(place: string): string {
  return place.startsWith(`${process.cwd()}/`) ? relative(process.cwd(), place) : place;
}

function errorRecord(thrown: unknown): ErrorRecord {
  const { name, message } = nameAndMessage(thrown, MAX_MESSAGE);
  if (!(thrown instanceof Error)) return { name, message };
  const { stack } = thrown as { stack: unknown };
  const causes = causesOf(thrown);
  return {
    name,
    // An AggregateError seldom has a message of its own.
    message: message === "" && thrown instanceof AggregateError ? `${thrown.errors.length} errors` : message,
    ...(typeof stack === "string" && stack !== "" && { stack: withoutCaller(stack.slice(0, MAX_STACK)) }),
    ...(causes.length > 0 && { causes }),
  };
}

function nameAndMessage(thrown: unknown, maxMessage: number) {
  if (!(thrown instanceof Error))
    return { name: "Thrown", message: Bun.inspect(thrown, { compact: true }).slice(0, maxMessage) };
  // A subclass may have set these to values other than strings.
  const [name, message] = [thrown.name, thrown.message].map(String) as [string, string];
  const ofClass = thrown.constructor.name;
  const shown = name === "Error" && ofClass ? ofClass : name;
  return { name: shown.slice(0, MAX_NAME), message: message.slice(0, maxMessage) };
}

function causesOf(thrown: Error): ErrorCause[] {
  const causes: ErrorCause[] = [];
  const seen = new Set<unknown>([thrown]);
  const visit = (error: unknown) => {
    const { cause, errors } = error as { cause?: unknown; errors?: unknown };
    const reasons: unknown[] = Array.isArray(errors) ? errors : [];
    for (const inner of [cause, ...(error instanceof AggregateError ? reasons : reasons.filter(hasMessage))]) {
      if (inner === undefined || inner === null || seen.has(inner) || causes.length === MAX_CAUSES) continue;
      seen.add(inner);
      causes.push(causeRecord(inner));
      if (inner instanceof Error) visit(inner);
    }
  };
  try {
    visit(thrown);
  } catch {
    // A cause that throws when it is inspected ends the list.
  }
  return causes;
}

/** Errors of Clerk's API have only a status as their message, and the reasons as plain objects in `errors`. */
function hasMessage(value: unknown): value is { message: string; code?: unknown; longMessage?: unknown } {
  return typeof value === "object" && value !== null && typeof (value as { message?: unknown }).message === "string";
}

function causeRecord(thrown: unknown): ErrorCause {
  if (!(thrown instanceof Error) && hasMessage(thrown)) {
    const { code, message, longMessage } = thrown;
    return {
      name: typeof code === "string" ? code.slice(0, MAX_NAME) : "Thrown",
      message: (typeof longMessage === "string" ? longMessage : message).slice(0, MAX_CAUSE_MESSAGE),
    };
  }
  const cause = nameAndMessage(thrown, MAX_CAUSE_MESSAGE);
  const at = thrown instanceof Error ? ownFrame(String(thrown.stack).slice(0, MAX_STACK)) : undefined;
  return { ...cause, ...(at && { at }) };
}

/** Drops Bellhop's frames below the handler. */
function withoutCaller(stack: string): string {
  const lines = stack.split("\n");
  const called = lines.findIndex((line) => line.includes(`at callHandler (${SOURCE}dispatch/`));
  const end = called < 0 ? lines.length : called;
  return lines.slice(0, lines.findLastIndex((line, index) => index < end && !isHostFrame(line)) + 1).join("\n");
}

// A path may have blanks, brackets and parentheses.
const FRAME = /^\s+at (?:async )?(?:.*? \()?(?:file:\/\/)?(\/.+?:\d+:\d+)\)?$/;

function ownFrame(stack: string): string | undefined {
  for (const line of stack.split("\n")) {
    // Long lines are parts of a message and slow to match.
    const place = line.length > 1_000 ? undefined : FRAME.exec(line)?.[1];
    if (place && !place.includes("/node_modules/") && !place.startsWith(SOURCE)) return place;
  }
  return undefined;
}
