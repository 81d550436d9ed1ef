// Explains the state of a run: what happened, which line threw, what it waits for, and what to do next. Pure.

import type { AttemptJson, DeliveryJson, HandlerJson, RunJson } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { formatDuration } from "../duration.ts";
import { frameLines } from "../failures/frame-lines.ts";

export interface Explained {
  delivery: DeliveryJson;
  run: RunJson;
  /** The current handler of this name, if there is one. */
  handler: HandlerJson | undefined;
  /** Earlier deliveries of the subject with runs that have not ended. */
  earlier: readonly string[];
}

export function explainRun({ delivery, run, handler, earlier }: Explained): string {
  const { id, type, subject } = delivery;
  const kind = run.replay === "" ? "" : " (a replay)";
  return [
    `${run.handler}${kind} on ${id}, a ${type} of ${subject ?? "no subject"}: ${run.state}`,
    ...run.attempts.map(describeAttempt),
    `Why: ${reasonOf(run, handler, earlier)}`,
    `Next: ${nextStep(run, id, handler)}`,
  ].join("\n\n");
}

function describeAttempt({ attempt, startedAt, took, outcome, error, log, frame }: AttemptJson): string {
  const lines = [`Attempt ${attempt} at ${new Date(startedAt).toISOString()}, ${formatDuration(took)}: ${outcome}`];
  for (const { level, message } of log ?? []) lines.push(`  log ${level}: ${message}`);
  if (error) lines.push(`  ${error.name}: ${error.message}`);
  for (const { name, message, at } of error?.causes ?? []) lines.push(`  caused by ${name}: ${message} ${at ?? ""}`);
  if (frame) lines.push(...frameLines(frame).map((text) => `  ${text}`));
  return lines.join("\n");
}

function reasonOf(run: RunJson, handler: HandlerJson | undefined, earlier: readonly string[]): string {
  const { state, parked, due, attempts, reason } = run;
  if (state === "done") return "it has ended successfully; what it wrote through `db` is committed.";
  if (state === "skipped") return `it was not run: ${reason ?? "no reason is recorded"}.`;
  if (state === "dead") return `it was given up: ${reason ?? "no reason is recorded"}.`;
  if (state === "running") return "an attempt runs now.";
  if (parked)
    return handler?.error
      ? `its file does not load: ${handler.error.where}: ${handler.error.message}`
      : "no running server has a file for this handler.";
  if (attempts.length > 0 && due) return `it failed, and is retried in ${formatDuration(due)}.`;
  if (earlier.length > 0)
    return `earlier events of the same subject have not ended, and runs of one subject keep their order: ${earlier.join(", ")}.`;
  return "it waits for a free slot of its handler (CONCURRENCY).";
}

function nextStep({ state, parked, handler: name }: RunJson, id: string, handler: HandlerJson | undefined): string {
  const check = `check it with try_handler (or ${COMMAND} try ${id} ${name})`;
  const file = handler ? `the handler's file ${handler.file}` : "the handler";
  if (state === "dead") return `fix ${file}, ${check}, then replay this delivery for this handler.`;
  if (state === "skipped") return "replay this delivery if it should run after all.";
  if (parked) return `fix ${file} so that it loads; the run then starts by itself.`;
  if (state === "waiting") return `nothing, or fix ${file} and ${check}: the next attempt uses the new code.`;
  return "nothing.";
}
