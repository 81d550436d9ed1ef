// Labels and signs for the states of runs and for the marks of deliveries. Pure.
// A state is never shown by colour alone: each has its own sign, and a text for screen readers.

import { isEdited } from "../../api/edited.ts";
import { latestRuns } from "../../api/latest-runs.ts";
import type { DeliverySummary, RunSummary } from "../../api/types.ts";
import { count } from "../../count.ts";
import { formatDuration } from "../../duration.ts";

/** The look of a chip, by the class names of the style sheet. */
export type Tone = "done" | "dead" | "skipped" | "running" | "waiting" | "retry" | "parked" | "unhandled";

export interface Chip {
  tone: Tone;
  sign: string;
  /** Its name: `dead`. */
  word: string;
  /** A sentence. */
  description: string;
}

const SIGNS: Record<Tone, string> = {
  done: "✓",
  dead: "✕",
  skipped: "–",
  running: "▸",
  waiting: "…",
  retry: "↻",
  parked: "‖",
  unhandled: "○",
};

type LabelledRun = Pick<RunSummary, "handler" | "state" | "parked" | "due" | "reason"> & { attempts: number };

/** The chip of a run. `attempts` is the number of recorded attempts. */
export function chipOf({ state, parked, due, reason, attempts }: LabelledRun): Chip {
  const tries = count(attempts, "attempt");
  if (state === "done") return chip("done", "done", attempts > 1 ? `done after ${tries}` : "done");
  if (state === "dead") return chip("dead", "dead", `dead: ${reason ?? `gave up after ${tries}`}`);
  if (state === "skipped") return chip("skipped", "skipped", `skipped${reason ? `: ${reason}` : ""}`);
  if (parked) return chip("parked", "waits for its file", "waiting: its file does not load or is missing");
  if (state === "running") return chip("running", "running", `running, attempt ${attempts + 1}`);
  if (attempts > 0) {
    const when = due === null || due <= 0 ? "retrying now" : `retrying in ${formatDuration(due)}`;
    return chip("retry", "retrying", `failed after ${tries}, ${when}`);
  }
  return chip("waiting", "waiting", "waiting for its turn");
}

export const UNHANDLED: Chip = chip("unhandled", "unhandled", "unhandled: it had no handler when it arrived");

/** The legend of the help dialog. */
export const LEGEND: readonly (readonly [Chip, string])[] = [
  [
    chip("waiting", "waiting", "waiting"),
    "it waits for an earlier event of the subject, or for a free slot of the handler",
  ],
  [chip("running", "running", "running"), "an attempt is in progress"],
  [chip("retry", "retrying", "failed"), "the last attempt failed, and it is retried"],
  [chip("done", "done", "done"), "it succeeded"],
  [chip("dead", "dead", "dead"), "it failed for good: fix the cause and replay it"],
  [chip("skipped", "skipped", "skipped"), "it did not run, by the handler's choice or a person's"],
  [chip("parked", "waits for its file", "waiting"), "its file does not load or is missing"],
  [UNHANDLED, "the delivery had no handler when it arrived"],
];

/** The name of a handler in a row of this type: `crm` for `user.created/crm`. */
export function labelOf(handler: string, type: string): string {
  return handler.startsWith(`${type}/`) ? handler.slice(type.length + 1) : handler;
}

/** The error of the first latest run that failed: the first line. */
export function errorOf(runs: readonly RunSummary[]): string | null {
  return latestRuns(runs).find(({ error }) => error !== undefined)?.error ?? null;
}

/** Milliseconds of the longest of the latest runs, which run in parallel; null before any attempt has ended. */
export function tookOf(runs: readonly RunSummary[]): number | null {
  const took = latestRuns(runs).flatMap(({ took }) => (took === null ? [] : [took]));
  return took.length === 0 ? null : Math.max(...took);
}

export interface Mark {
  name: "replay" | "edited" | "sample" | "stale" | "duplicate" | "wiped";
  word: string;
  description: string;
}

type MarkedDelivery = Pick<DeliverySummary, "id" | "sample" | "receipts" | "wiped"> & {
  runs: readonly Pick<RunSummary, "replay" | "state" | "reason">[];
};

/** The marks of a delivery. */
export function marksOf({ id, sample, receipts, wiped, runs }: MarkedDelivery): Mark[] {
  const marks: Mark[] = [];
  if (runs.some(({ replay }) => replay !== ""))
    marks.push({ name: "replay", word: "replay", description: "It was replayed" });
  if (isEdited(id))
    marks.push({
      name: "edited",
      word: "edited",
      description: "A person edited it in the inspector and sent it again",
    });
  if (sample) marks.push({ name: "sample", word: "sample", description: "An example that the Clerk Dashboard sends" });
  if (runs.some(isStale))
    marks.push({ name: "stale", word: "stale", description: "A later event of its subject was done first" });
  if (receipts > 1)
    marks.push({
      name: "duplicate",
      word: "duplicate",
      description: `It was received ${receipts} times and is stored once`,
    });
  if (wiped)
    marks.push({ name: "wiped", word: "no payload", description: "Its payload is deleted, so it can't be replayed" });
  return marks;
}

export function isStale({ state, reason }: Pick<RunSummary, "state" | "reason">): boolean {
  return state === "skipped" && (reason ?? "").startsWith("stale");
}

function chip(tone: Tone, word: string, description: string): Chip {
  return { tone, sign: SIGNS[tone], word, description };
}
