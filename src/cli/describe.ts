// Prints the state of a run for people.

import type { CodeFrame, PausesJson, RunJson, RunSummary } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { formatDuration } from "../duration.ts";
import { errorLines } from "../failures/error-record.ts";
import { frameLines } from "../failures/frame-lines.ts";
import type { ErrorRecord } from "../inbox/inbox.ts";
import { printable, printableLines } from "../printable.ts";

const INDENT = "      ";

/** The facts beside its row that a run's state depends on. */
export interface Surroundings {
  paused: PausesJson["paused"];
  /** No server runs: a run that was in progress is interrupted. */
  isOffline: boolean;
}

/** A few lines about one run: its state, its log, and its error. */
export function describeRun(
  run: RunJson,
  { paused, isOffline }: Surroundings = { paused: [], isOffline: false },
): string {
  const { handler, state, parked, attempts, due, reason } = run;
  const last = attempts.at(-1);
  const took = last ? ` in ${formatDuration(last.took)}` : "";
  const log = (last?.log ?? [])
    .map(({ level, message }) => `\n${INDENT}${level === "info" ? "" : `${level}: `}${printableLines(message, INDENT)}`)
    .join("");
  const error = last?.error ? `\n${INDENT}${describeStack(last.error)}${describeFrame(last.frame)}` : "";
  if (parked) return `  … ${handler} waits: its file does not load (${COMMAND} handlers)`;
  if (state === "done") return `  ✓ ${handler} done${took}${log}`;
  if (state === "skipped") return `  - ${handler} skipped: ${printable(reason ?? "")}`;
  if (state === "dead") return `  ✗ ${handler} dead: ${printable(reason ?? "")}${log}${error}`;
  if (state === "running" && isOffline) return `  … ${handler} was interrupted: it runs again when a server starts`;
  const pause = pauseOf(run, paused);
  const waiting = pause && `\n${INDENT}${describePause(pause)}`;
  if (last && waiting) return `  ✗ ${handler} failed${took}, and waits${log}${error}${waiting}`;
  if (waiting) return `  … ${handler} waits${waiting}`;
  if (last) return `  ✗ ${handler} failed${took}, retrying in ${formatDuration(due ?? 0)}${log}${error}`;
  return `  … ${handler} ${state === "running" ? "still runs" : "waits for its turn"}`;
}

/** The pause that a run waits for. */
export function pauseOf(
  { handler, state, parked }: Pick<RunSummary, "handler" | "state" | "parked">,
  paused: PausesJson["paused"],
) {
  return state === "waiting" && !parked ? paused.find((pause) => pause.handler === handler) : undefined;
}

/** The cause and the reason of a pause, and how to end it. */
export function describePause({ handler, cause, reason }: PausesJson["paused"][number]): string {
  const name = printable(handler);
  const why = reason === null ? "" : ` (${printable(reason)})`;
  return `${name} is paused ${pausedBy(cause)}${why}, and its runs wait. To continue: ${COMMAND} resume ${name}`;
}

export function pausedBy(cause: PausesJson["paused"][number]["cause"]): string {
  return cause === "person" ? "by a person" : "by the breaker";
}

/** The error in one line: some have no message. */
export function describeTitle({ name, message }: { name: string; message: string }): string {
  return message === "" ? name : `${name}: ${message}`;
}

/** The beginning of an error's stack, or its message, and its causes, with the further lines indented. */
export function describeStack(error: ErrorRecord): string {
  return printableLines(errorLines(error).join("\n"), INDENT);
}

/** The lines of code that threw, indented, each in a line of its own. */
export function describeFrame(frame: CodeFrame | null, indent = INDENT): string {
  return (frame ? frameLines(frame) : []).map((text) => `\n${indent}${printable(text)}`).join("");
}

/** The run ended without a failure. */
export function isSuccessful({ state }: RunJson): boolean {
  return state === "done" || state === "skipped";
}
