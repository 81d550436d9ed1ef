// Does a bulk replay: adds the runs step by step and follows them until nothing goes any more. It can be stopped between
// two steps; what was added goes on without this page.

import { signal } from "@preact/signals";

import type { RunStates } from "../../inbox/queries.ts";
import { api } from "./api.ts";
import { NO_RUNS, sum } from "./bulk-plan.ts";

export interface BulkProgress {
  /** Runs that were added. */
  added: number;
  adding: boolean;
  states: RunStates;
  stopped: boolean;
  over: boolean;
  /** Rows that could not be replayed, with the last reason. */
  refused: { number: number; reason: string };
}

export const progress = signal<BulkProgress | null>(null);

const POLL_MS = 500;

let stopping = false;

export function stop() {
  stopping = true;
}

/** Everything that the query finds. */
export async function runQuery(query: Record<string, string | boolean>) {
  begin();
  try {
    await addAndFollow(query, crypto.randomUUID());
  } finally {
    update({ adding: false, over: true });
  }
}

/** These and no others. */
export async function runRows(ids: readonly string[], handler: string | undefined) {
  begin();
  for (const id of ids) {
    if (stopping) break;
    try {
      const { handlers } = await api.replay(id, handler);
      update({ added: (progress.value?.added ?? 0) + handlers.length });
    } catch (error) {
      const number = (progress.value?.refused.number ?? 0) + 1;
      update({ refused: { number, reason: error instanceof Error ? error.message : String(error) } });
    }
  }
  update({ adding: false, over: true });
}

async function addAndFollow(query: Record<string, string | boolean>, replay: string) {
  const handler = typeof query["handler"] === "string" ? { handler: query["handler"] } : {};
  const steps: { first: number; last: number }[] = [];
  const settled: RunStates[] = [];
  let next: number | null = 0;
  while ((next !== null && !stopping) || settled.length < steps.length) {
    if (next !== null && !stopping) {
      const step = await api.addReplays({ ...query, replay, after: next });
      if (step.runs) steps.push(step.runs);
      update({ added: step.added + (progress.value?.added ?? 0) });
      next = step.next;
    } else await sleep(POLL_MS);
    if (next === null || stopping) update({ adding: false });
    // The oldest step first: however many there are, each look is at one step's.
    let current: RunStates | undefined;
    for (const { first, last } of steps.slice(settled.length)) {
      current = await api.states({ first, last, ...handler });
      if (current.going > 0) break;
      settled.push(current);
      current = undefined;
    }
    update({ states: sum([...settled, ...(current ? [current] : [])]) });
  }
}

function begin() {
  stopping = false;
  const refused = { number: 0, reason: "" };
  progress.value = { added: 0, adding: true, states: NO_RUNS, stopped: false, over: false, refused };
}

function update(change: Partial<BulkProgress>) {
  if (progress.value) progress.value = { ...progress.value, ...change, stopped: stopping };
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
