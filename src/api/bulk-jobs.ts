// Bulk replays run on the server, so that they continue when the page that started them is closed.
// Kept in memory: after a restart, added runs continue, and no further ones are added.

import { messageOf } from "../errors.ts";
import { NO_PROGRESS, runBulkReplay } from "./bulk-replay.ts";
import type { BulkJobJson, ReplayProgress, ReplayStep, RunRange } from "./types.ts";

export interface BulkWork {
  /** As in `BulkReplay`. */
  add: (id: string, after: number, limit: number) => Promise<ReplayStep>;
  progressOf: (runs: RunRange) => Promise<ReplayProgress>;
  rate?: number | undefined;
}

export interface BulkJobs {
  start(work: BulkWork): BulkJobJson;
  get(id: string): BulkJobJson | undefined;
  /** The latest job. */
  latest(): BulkJobJson | undefined;
  /** Adds no further runs. */
  stop(id: string): void;
}

const POLL_MS = 100;
const MAX_JOBS = 20;

export function createBulkJobs({ pollMs = POLL_MS } = {}): BulkJobs {
  const jobs = new Map<string, BulkJobJson>();
  return {
    start({ add, progressOf, rate }) {
      const id = crypto.randomUUID();
      const job: BulkJobJson = {
        id, added: 0, isAdding: true, isStopped: false, isFinished: false, reason: null, runs: NO_PROGRESS,
      }; // prettier-ignore
      jobs.set(id, job);
      const oldest = jobs.values().find(({ isFinished }) => isFinished);
      if (jobs.size > MAX_JOBS && oldest) jobs.delete(oldest.id);
      const work = {
        add: (after: number, limit: number) => add(id, after, limit),
        progressOf,
        rate,
        pollMs,
        isStopped: () => job.isStopped,
        onProgress: ({ added, isAdding, progress }: { added: number; isAdding: boolean; progress: ReplayProgress }) =>
          void Object.assign(job, { added, isAdding, runs: progress }),
      };
      runBulkReplay(work)
        .then((runs) => (job.runs = runs))
        .catch((error: unknown) => (job.reason = messageOf(error)))
        .finally(() => Object.assign(job, { isAdding: false, isFinished: true }));
      return job;
    },
    get: (id) => jobs.get(id),
    latest: () => [...jobs.values()].at(-1),
    stop(id) {
      const job = jobs.get(id);
      if (job) job.isStopped = true;
    },
  };
}
