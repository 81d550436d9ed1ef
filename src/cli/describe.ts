// Prints the state of a run for people.

import type { CodeFrame, RunJson } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { formatDuration } from "../duration.ts";
import { errorLines } from "../failures/error-record.ts";
import { frameLines } from "../failures/frame-lines.ts";
import type { ErrorRecord } from "../inbox/views.ts";
import { printable, printableLines } from "../printable.ts";

const INDENT = "      ";

/** A few lines about one run: its state, its log, and its error. */
export function describeRun({ handler, state, parked, attempts, due, reason }: RunJson): string {
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
  if (last) return `  ✗ ${handler} failed${took}, retrying in ${formatDuration(due ?? 0)}${log}${error}`;
  return `  … ${handler} ${state === "running" ? "still runs" : "waits for its turn"}`;
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
