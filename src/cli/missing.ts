// `bun replay --handler … --missing` runs the stored deliveries through a handler that it never saw: a count, a question,
// and then the runs, in steps that the server takes between its other work. What was added goes on without this command.

import { suggest } from "../clerk/events.ts";
import { UserError } from "../errors.ts";
import type { Missing, MissingStep, RunStates } from "../inbox/inbox.ts";
import type { HandlerTrouble } from "../inspector/app.ts";
import type { Client, MissingWords } from "./client.ts";
import { createProgress, type Progress } from "./progress.ts";

const POLL_MS = 50;

interface Asked extends MissingWords {
  /** As it was typed: `7d`. */
  sinceText?: string | undefined;
  yes: boolean;
  dryRun: boolean;
}

/** Returns whether everything that there was is done. */
export async function replayMissing(client: Client, { sinceText, yes, dryRun, ...query }: Asked): Promise<boolean> {
  const missing = orExplain(query.handler, await client.missing(query));
  console.log(describeMissing(query.handler, sinceText, missing));
  if (missing.found === 0 || dryRun) return true;
  if (!yes && !confirmed(`Run ${missing.found === 1 ? "it" : "them"} now?`)) {
    console.log("Nothing was run.");
    return false;
  }
  const progress = createProgress(missing.found);
  const states = await addAndWait(client, query, progress).finally(() => progress.end());
  console.log(describeStates(states));
  return states.dead === 0 && states.waiting === 0;
}

/** Follows the runs a step at a time, the oldest first: however many there are, each look is at one step's. */
async function addAndWait(client: Client, query: MissingWords, progress: Progress): Promise<RunStates> {
  const steps: { first: number; last: number }[] = [];
  const settled: RunStates[] = [];
  let adding: number | null = 0;
  while (adding !== null || settled.length < steps.length) {
    if (adding === null) await Bun.sleep(POLL_MS);
    else {
      const step: MissingStep = orExplain(query.handler, await client.addMissing(query, adding));
      if (step.runs) steps.push(step.runs);
      adding = step.next;
    }
    let current: RunStates | undefined;
    for (const runs of steps.slice(settled.length)) {
      current = await client.states(query.handler, runs);
      if (current.going > 0) break;
      settled.push(current);
      current = undefined;
    }
    progress.show(ended(sum([...settled, ...(current ? [current] : [])])));
  }
  // What waited for a retry while the others went may have ended since.
  for (const [index, runs] of steps.entries())
    if (settled[index]?.waiting) settled[index] = await client.states(query.handler, runs);
  return sum(settled);
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

function orExplain<T extends object>(handler: string, answer: T | HandlerTrouble): T {
  if (!("error" in answer)) return answer;
  if (answer.error === "not_loaded")
    throw new UserError(
      `${handler} does not load, so nothing runs through it:\n\n    ${answer.where}: ${answer.message}`,
    );
  const { handlers } = answer;
  const meant = suggest(handler, handlers);
  const known = handlers.length === 0 ? "there is none yet: bun new user.created" : `there are ${handlers.join(", ")}`;
  throw new UserError(`There is no handler ${handler}; ${meant ? `did you mean ${meant}?` : known}`);
}

export function describeMissing(
  handler: string,
  since: string | undefined,
  { event, found, stale, wiped }: Missing & { event: string },
): string {
  const which = `${event === "*" ? "" : ` of ${event}`}${since === undefined ? "" : ` of the last ${since}`}`;
  const lines = [`${deliveries(found)}${which} never went through ${handler}.`];
  if (stale > 0)
    lines.push(`  ${stale.toLocaleString("en")} more left out: a later event is done; --stale takes them too`);
  if (wiped > 0) lines.push(`  ${wiped.toLocaleString("en")} more left out: one-time codes, whose payload was wiped`);
  return lines.join("\n");
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

function deliveries(count: number): string {
  return `${count.toLocaleString("en")} stored ${count === 1 ? "delivery" : "deliveries"}`;
}
