// How a run stands and what a delivery is marked with, in words and signs. Pure.
// A state is never told by colour alone: each has a sign of its own and a word for those who listen.

import type { DeliverySummary, RunSummary } from "../../inbox/queries.ts";
import { duration } from "./time.ts";

/** What a chip looks like; the style sheet knows the same names. */
export type Tone = "done" | "dead" | "skipped" | "running" | "waiting" | "retry" | "parked" | "unhandled";

export interface Chip {
  tone: Tone;
  sign: string;
  /** The word for it: `dead`. */
  word: string;
  /** A sentence. */
  says: string;
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

type StandingRun = Pick<RunSummary, "handler" | "state" | "parked" | "due" | "reason"> & { attempts: number };

/** How a run stands. `attempts` are those on record. */
export function chipOf({ state, parked, due, reason, attempts }: StandingRun): Chip {
  const tries = attempts === 1 ? "1 attempt" : `${attempts} attempts`;
  if (state === "done") return chip("done", "done", attempts > 1 ? `done after ${tries}` : "done");
  if (state === "dead") return chip("dead", "dead", `dead: ${reason ?? `gave up after ${tries}`}`);
  if (state === "skipped") return chip("skipped", "skipped", `skipped${reason ? `: ${reason}` : ""}`);
  if (parked) return chip("parked", "waits for its file", "waiting: its file does not load, or is gone");
  if (state === "running") return chip("running", "running", `running, attempt ${attempts + 1}`);
  if (attempts > 0) {
    const when = due === null || due <= 0 ? "goes again now" : `goes again in ${duration(due)}`;
    return chip("retry", "failed, goes again", `failed after ${tries}, ${when}`);
  }
  return chip("waiting", "waiting", "waiting for its turn");
}

export const UNHANDLED: Chip = chip("unhandled", "unhandled", "unhandled: it had no handler when it came");

/** What the help sheet says of each. */
export const LEGEND: readonly (readonly [Chip, string])[] = [
  [
    chip("waiting", "waiting", "waiting"),
    "its turn comes: an earlier event of the subject goes first, or the handler is busy",
  ],
  [chip("running", "running", "running"), "an attempt is being made"],
  [chip("retry", "failed, goes again", "failed"), "the last attempt failed, and another one comes"],
  [chip("done", "done", "done"), "it did what it should"],
  [chip("dead", "dead", "dead"), "given up: a person has to look, and replay it"],
  [chip("skipped", "skipped", "skipped"), "it did not run, by the handler's choice or a person's word"],
  [chip("parked", "waits for its file", "waiting"), "its file does not load, or is gone"],
  [UNHANDLED, "the delivery had no handler when it came"],
];

/** Of each handler, the last run, in the order of the first ones. */
export function latest<Run extends { handler: string; run: number }>(runs: readonly Run[]): Run[] {
  return [...new Map(runs.toSorted((a, b) => a.run - b.run).map((run) => [run.handler, run])).values()];
}

/** What a chip is called in a row of this type: `user.created/crm` is `crm` there, and `user.created` itself its state. */
export function labelOf(handler: string, type: string, { word }: Chip): string {
  if (handler === type) return word;
  return handler.startsWith(`${type}/`) ? handler.slice(type.length + 1) : handler;
}

/** Milliseconds of the longest of the runs as they stand, which went at the same time; null when the server did not say. */
export function tookOf(runs: readonly TimedRun[]): number | null {
  const took = latest(runs).flatMap(({ took }) => (typeof took === "number" ? [took] : []));
  return took.length === 0 ? null : Math.max(...took);
}

/** A list may say how long a run's last attempt took. */
type TimedRun = RunSummary & { took?: number | null };

export interface Mark {
  name: "replay" | "sample" | "stale" | "duplicate" | "wiped";
  word: string;
  says: string;
}

/** What is special about a delivery. */
export function marksOf({ sample, receipts, wiped, runs }: DeliverySummary): Mark[] {
  const marks: Mark[] = [];
  if (runs.some(({ replay }) => replay !== ""))
    marks.push({ name: "replay", word: "replay", says: "It was run again on purpose" });
  if (sample) marks.push({ name: "sample", word: "sample", says: "An example that the Clerk Dashboard sends" });
  if (runs.some(isStale))
    marks.push({ name: "stale", word: "stale", says: "A later event of its subject was done before" });
  if (receipts > 1)
    marks.push({ name: "duplicate", word: "duplicate", says: `It came ${receipts} times and is stored once` });
  if (wiped) marks.push({ name: "wiped", word: "no payload", says: "Its payload is gone: it can't be replayed" });
  return marks;
}

export function isStale({ state, reason }: Pick<RunSummary, "state" | "reason">): boolean {
  return state === "skipped" && (reason ?? "").startsWith("stale");
}

function chip(tone: Tone, word: string, says: string): Chip {
  return { tone, sign: SIGNS[tone], word, says };
}
