// Finds the problem that a failure belongs to, by its handler, the error's name, the message without ids and numbers, and
// the first stack frame in the user's code. The line's number does not count: an edit above it changes nothing.

import type { ErrorRecord, Outcome, ThrownAt } from "../inbox/inbox.ts";
import type { ProblemKey } from "../problems/problem-views.ts";
import { redactText } from "../redact.ts";
import { placeOf, shownPlace } from "./error-record.ts";

const MAX_MESSAGE = 300;
/** Of a stack that is searched. */
const MAX_FRAMES = 100;
const ID_CHARACTERS = 12;
/** Stored with an error, before and after the line that threw. */
const LINES_AROUND = 2;

/** Finds the line of code that threw. `changed`: the file has other code by now. */
export type ReadFrame = (error: ErrorRecord, startedAt: number) => Promise<(ThrownAt & { changed?: boolean }) | null>;

/** Adds the problem to a failure, and the lines of code to its error: later, or elsewhere, the file may be another one. */
export async function withProblem(
  handler: string,
  outcome: Outcome,
  readFrame: ReadFrame | undefined,
): Promise<Outcome> {
  if (outcome.kind !== "retry" && outcome.kind !== "dead") return outcome;
  const { error, startedAt } = outcome.record;
  if (!error) return outcome;
  const frame = await readFrame?.(error, startedAt).catch(() => null);
  if (!frame) return { ...outcome, problem: problemOf(handler, error) };
  const thrownAt = frame.changed ? undefined : storedFrame(frame);
  const line = thrownAt?.source.find(({ number }) => number === frame.line);
  const found = { place: `${frame.file}:${frame.line}`, source: line?.text.trim() ?? null };
  return {
    ...outcome,
    ...(thrownAt && { record: { ...outcome.record, error: { ...error, frame: thrownAt } } }),
    problem: { ...problemOf(handler, error, frame.file), ...found },
  };
}

/** A few lines, without secrets: they leave the machine of the code with the inbox. */
function storedFrame({ file, line, column, source }: ThrownAt): ThrownAt {
  const near = source.filter(({ number }) => Math.abs(number - line) <= LINES_AROUND);
  return { file, line, column, source: near.map(({ number, text }) => ({ number, text: redactText(text) })) };
}

/**
 * The key of a failure, without its line of code. `file` is the path of the place in the project, which a new directory
 * for each deploy does not change. Pure.
 */
export function problemOf(handler: string, error: ErrorRecord, file?: string): ProblemKey {
  const { name } = error;
  const message = generalize(error.message);
  const place = placeOf(withoutMessage(error));
  const [, path = "", line = ""] = /^(.*?):(\d+):\d+$/.exec(place === undefined ? "" : shownPlace(place)) ?? [];
  const frame = `${file ?? path} ${place === undefined ? "" : functionAt(place, error)}`;
  const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify([handler, name, message, frame])).digest("hex");
  return {
    id: `p_${hash.slice(0, ID_CHARACTERS)}`,
    name,
    message,
    place: path === "" ? null : `${path}:${line}`,
    source: null,
  };
}

/** The text of a message may look like a frame. */
function withoutMessage({ name, message, stack = "", ...error }: ErrorRecord): ErrorRecord {
  const at = message === "" ? -1 : stack.slice(0, name.length + message.length + 100).indexOf(message);
  return { name, message, ...error, stack: at < 0 ? stack : stack.slice(at + message.length) };
}

/** The name of the function in the frame of a place: `  at async name (/app/handlers/user.created.ts:3:15)`. */
function functionAt(place: string, { stack = "" }: ErrorRecord): string {
  const frame = stack.split("\n", MAX_FRAMES).find((line) => line.includes(place));
  return /^\s+at (?:async )?([^(/]+?) \(/.exec(frame?.slice(0, 1_000) ?? "")?.[1] ?? "";
}

const QUOTED = /"(?:[^"\\]|\\.)*"|(?<!\w)'[^'\n]*'(?!\w)|`[^`]*`/g;
/** A quoted name of code, such as a property, is the same for all events; a value is not. */
const IS_NAME = /^.[A-Za-z_$][\w$.[\]-]{0,39}.$/;

const REPLACED: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  // E-mail addresses and UUIDs.
  [/[^\s"'`<>()@]{1,64}@[^\s"'`<>()@]{1,255}\.\w+/g, "…"],
  [/\b[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}\b/gi, "…"],
  // Clerk's and other services' ids: `user_2abc…` keeps its prefix.
  [/\b([a-z]{2,12}_)(?=[A-Za-z]*\d|[A-Za-z]{16})[A-Za-z\d]{6,}\b/g, "$1…"],
  // Hashes and tokens: letters mixed with digits.
  [/\b(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{8,}\b/g, "…"],
  // Numbers, but not the status of an HTTP response: 429 and 500 are different problems.
  [/(?<![\w.])(?![45]\d\d(?!\w|[.:]\d))[+-]?\d[\d.,:]*(?:e[+-]?\d+)?/gi, "…"],
  [/(?<=_)\d+\b|(?<=[A-Za-z_])\d{2,}/g, "…"],
  [/…(?:[\s.,:/-]{0,2}…)+/g, "…"],
  [/\s+/g, " "],
];

/** Removes from a message the parts that differ from event to event. */
export function generalize(message: string): string {
  let text = message
    .slice(0, 4 * MAX_MESSAGE)
    .replaceAll(QUOTED, (quoted) => (isName(quoted) ? quoted : `${quoted[0]}…${quoted[0]}`));
  for (const [pattern, replacement] of REPLACED) text = text.replaceAll(pattern, replacement);
  text = text.trim();
  return text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE - 1)}…` : text;
}

const isName = (quoted: string) => IS_NAME.test(quoted) && !/\d{2}/.test(quoted);
