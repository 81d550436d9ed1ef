// Runs many stored deliveries again: a count, a question, and then the runs, in steps that the server takes between its
// other work. What was added goes on without this command.

import { suggest } from "../clerk/events.ts";
import { UserError } from "../errors.ts";
import type { MissingStep, RunStates } from "../inbox/queries.ts";
import type { HandlerTrouble } from "../inspector/app.ts";
import type { Client } from "./client.ts";
import { createProgress, type Progress } from "./progress.ts";

const POLL_MS = 50;
// As many as a commit may take without holding up deliveries.
const MOST_PER_STEP = 200;
// Steps a second when there is a rate: often enough to be even, and not a commit for each run.
const STEPS_PER_SECOND = 4;

/** What is to be run, and how it is asked for. */
export interface BulkWork {
  /** In lines for people, and how many runs that are. */
  count: () => Promise<{ says: string; found: number }>;
  /** Adds the next runs. */
  add: (after: number, limit: number) => Promise<MissingStep>;
  /** The one handler that it is about. */
  handler?: string | undefined;
}

export interface BulkWords {
  yes: boolean;
  dryRun: boolean;
  /** Runs a second; undefined: as fast as they go. */
  rate: number | undefined;
}

/** Returns whether everything that there was is done. */
export async function runInBulk(client: Client, work: BulkWork, { yes, dryRun, rate }: BulkWords): Promise<boolean> {
  const { says, found } = await work.count();
  console.log(says);
  if (found === 0 || dryRun) return true;
  if (!yes && !confirmed(`Run ${found === 1 ? "it" : "them"} now?`)) {
    console.log("Nothing was run.");
    return false;
  }
  const progress = createProgress(found);
  const states = await addAndWait(client, work, rate, progress).finally(() => progress.end());
  console.log(describeStates(states));
  return states.dead === 0 && states.waiting === 0;
}

/** Follows the runs a step at a time, the oldest first: however many there are, each look is at one step's. */
async function addAndWait(
  client: Client,
  { add, handler }: BulkWork,
  rate: number | undefined,
  progress: Progress,
): Promise<RunStates> {
  const steps: { first: number; last: number }[] = [];
  const settled: RunStates[] = [];
  const began = performance.now();
  let added = 0;
  let adding: number | null = 0;
  while (adding !== null || settled.length < steps.length) {
    const allowed = allowance(rate, (performance.now() - began) / 1_000, added);
    if (adding === null || allowed < 1) await Bun.sleep(POLL_MS);
    else {
      const step: MissingStep = await add(adding, allowed);
      if (step.runs) steps.push(step.runs);
      added += step.added;
      adding = step.next;
    }
    let current: RunStates | undefined;
    for (const runs of steps.slice(settled.length)) {
      current = await client.states(handler, runs);
      if (current.going > 0) break;
      settled.push(current);
      current = undefined;
    }
    progress.show(ended(sum([...settled, ...(current ? [current] : [])])));
  }
  // What waited for a retry while the others went may have ended since.
  for (const [index, runs] of steps.entries())
    if (settled[index]?.waiting) settled[index] = await client.states(handler, runs);
  return sum(settled);
}

/** Pure: how many runs may be added now, after so many seconds and runs. */
export function allowance(rate: number | undefined, seconds: number, added: number): number {
  if (rate === undefined) return MOST_PER_STEP;
  const step = Math.min(MOST_PER_STEP, Math.max(1, Math.floor(rate / STEPS_PER_SECOND)));
  const due = Math.floor(rate * seconds) + 1 - added;
  return due >= step || added === 0 ? step : 0;
}

function sum(all: readonly RunStates[]): RunStates {
  const total: RunStates = { done: 0, dead: 0, skipped: 0, waiting: 0, going: 0 };
  for (const each of all) for (const name of Object.keys(total) as (keyof RunStates)[]) total[name] += each[name];
  return total;
}

function ended({ done, dead, skipped }: RunStates): number {
  return done + dead + skipped;
}

/** Asks on a terminal; elsewhere nobody could answer. */
function confirmed(question: string): boolean {
  if (!process.stdin.isTTY)
    throw new UserError("Nobody can answer here: add --yes to run them, or --dry-run to leave it at the count");
  return confirm(question);
}

/** The answer, or a sentence about why the handler can't run anything. */
export function orExplain<T extends object>(handler: string | undefined, answer: T | HandlerTrouble): T {
  if (!("error" in answer)) return answer;
  if (answer.error === "not_loaded")
    throw new UserError(
      `${handler} does not load, so nothing runs through it:\n\n    ${answer.where}: ${answer.message}`,
    );
  const { handlers } = answer;
  const meant = suggest(handler ?? "", handlers);
  const known = handlers.length === 0 ? "there is none yet: bun new user.created" : `there are ${handlers.join(", ")}`;
  throw new UserError(`There is no handler ${handler}; ${meant ? `did you mean ${meant}?` : known}`);
}

/** Lines about what is left out, and the word that takes it along. */
export function describeLeftOut({ stale, wiped, gone = 0 }: { stale: number; wiped: number; gone?: number }): string[] {
  const more = (count: number, why: string) =>
    count > 0 ? [`  ${count.toLocaleString("en")} more left out: ${why}`] : [];
  return [
    ...more(stale, "a later event is done; --stale takes them too"),
    ...more(wiped, "their payload is gone (one-time codes, or RETENTION_DAYS)"),
    ...more(gone, "their handler is not there any more"),
  ];
}

export function describeStates({ done, dead, skipped, waiting }: RunStates): string {
  const parts = [
    `${done.toLocaleString("en")} done`,
    ...(skipped > 0 ? [`${skipped.toLocaleString("en")} skipped`] : []),
    `${dead.toLocaleString("en")} dead`,
    `${waiting.toLocaleString("en")} waiting${waiting > 0 ? " for a retry or behind one: the server goes on with them" : ""}`,
  ];
  return parts.join(", ");
}
