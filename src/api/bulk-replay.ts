// Runs a bulk replay step by step and follows its runs. The page imports from here too, so this imports shapes only.

import type { ReplayProgress, ReplayStep, RunRange } from "./types.ts";

// Measured: a commit that adds this many runs takes about 10 ms, and deliveries wait for it.
const MAX_RUNS_PER_STEP = 200;
// With a rate: enough steps for an even pace, without a commit for each run.
const STEPS_PER_SECOND = 10;

export interface BulkReplay {
  /** Adds the next runs, at most `limit`. `after` is 0, then the `next` of the step before. */
  add: (after: number, limit: number) => Promise<ReplayStep>;
  progressOf: (runs: RunRange) => Promise<ReplayProgress>;
  /** Runs per second; undefined adds them as fast as the server takes them. */
  rate?: number | undefined;
  /** Milliseconds between two polls of the progress. */
  pollMs: number;
  /** Once true, no further steps are added. */
  isStopped?: () => boolean;
  onProgress: (state: { added: number; isAdding: boolean; progress: ReplayProgress }) => void;
}

export const NO_PROGRESS: ReplayProgress = { done: 0, dead: 0, skipped: 0, waiting: 0, active: 0 };

/** Resolves when no added run is active: each has ended, or waits for a retry or behind one. Rejects as `add` does. */
export async function runBulkReplay(work: BulkReplay): Promise<ReplayProgress> {
  const steps: RunRange[] = [];
  let added = 0;
  let isAdding = true;
  let hasFailed = false;

  async function addSteps() {
    const limit = stepLimit(work.rate);
    let due = performance.now();
    for (let after: number | null = 0; after !== null && !hasFailed && !work.isStopped?.();) {
      const wait = due - performance.now();
      if (wait > 0) await sleep(wait);
      const step: ReplayStep = await work.add(after, limit);
      if (step.runs) steps.push(step.runs);
      added += step.added;
      after = step.next;
      due = nextStepAt(due, step.added, work.rate, performance.now());
    }
    isAdding = false;
  }

  /** Polls only the oldest steps that are still active, so a poll costs the same however many runs there are. */
  async function follow(): Promise<ReplayProgress> {
    const finished: ReplayProgress[] = [];
    while (isAdding || finished.length < steps.length) {
      let current = NO_PROGRESS;
      for (const runs of steps.slice(finished.length)) {
        const progress = await work.progressOf(runs);
        if (progress.active > 0) {
          current = progress;
          break;
        }
        finished.push(progress);
      }
      if (hasFailed) break;
      work.onProgress({ added, isAdding, progress: sum([...finished, current]) });
      if (isAdding || finished.length < steps.length) await sleep(work.pollMs);
    }
    // Runs that waited for a retry may have ended since.
    for (const [index, runs] of steps.entries())
      if (finished[index]?.waiting) finished[index] = await work.progressOf(runs);
    return sum(finished);
  }

  try {
    const [progress] = await Promise.all([follow(), addSteps()]);
    return progress;
  } catch (error) {
    // Stops the other loop.
    hasFailed = true;
    throw error;
  }
}

/** Pure: the maximum number of runs that a step adds. */
export function stepLimit(rate: number | undefined): number {
  if (rate === undefined) return MAX_RUNS_PER_STEP;
  return Math.min(MAX_RUNS_PER_STEP, Math.max(1, Math.floor(rate / STEPS_PER_SECOND)));
}

/**
 * Pure: the due time of the step after one that was due at `due` and added `added` runs. Counted from `due`, so that late
 * timers don't slow the pace. Time lost by a slow step is not recovered, because that would cause a burst.
 */
export function nextStepAt(due: number, added: number, rate: number | undefined, now: number): number {
  return rate === undefined ? now : Math.max(due + (added / rate) * 1_000, now);
}

export function endedRuns({ done, dead, skipped }: ReplayProgress): number {
  return done + dead + skipped;
}

function sum(parts: readonly ReplayProgress[]): ReplayProgress {
  const total = { ...NO_PROGRESS };
  for (const part of parts)
    for (const name of Object.keys(total) as (keyof ReplayProgress)[]) total[name] += part[name];
  return total;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
