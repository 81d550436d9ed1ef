// How a run stands, in lines for people.

import { formatDuration } from "../duration.ts";
import type { RunView } from "../inbox/inbox.ts";

/** A few lines about one run: how it ended, what it logged, or the error. */
export function describeRun({ handler, state, parked, attempts, due, reason }: RunView): string {
  const last = attempts.at(-1);
  const took = last ? ` in ${formatDuration(last.took)}` : "";
  const log = (last?.log ?? [])
    .map(({ level, message }) => `\n      ${level === "info" ? "" : `${level}: `}${message}`)
    .join("");
  const error = last?.error
    ? `\n      ${(last.error.stack ?? last.error.message).split("\n").slice(0, 6).join("\n      ")}`
    : "";
  if (parked) return `  … ${handler} waits: its file does not load (bun handlers)`;
  if (state === "done") return `  ✓ ${handler} done${took}${log}`;
  if (state === "skipped") return `  - ${handler} skipped: ${reason}`;
  if (state === "dead") return `  ✗ ${handler} dead: ${reason}${log}${error}`;
  if (last) return `  ✗ ${handler} failed${took}, goes again in ${formatDuration(due ?? 0)}${log}${error}`;
  return `  … ${handler} ${state === "running" ? "still runs" : "waits for its turn"}`;
}

/** A run that did what it should. */
export function isFine({ state }: RunView): boolean {
  return state === "done" || state === "skipped";
}
