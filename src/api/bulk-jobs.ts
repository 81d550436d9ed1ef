// Bulk replays that run on the server, so that they continue when the page that started them is closed.
// Kept in memory: after a restart, added runs continue, and no further ones are added.

import { messageOf } from "../errors.ts";
import { NO_PROGRESS, runBulkReplay } from "./bulk-replay.ts";
import type { BulkJobJson, ReplayProgress, ReplayStep, RunRange } from "./types.ts";

export interface BulkWork {
  /** As in `BulkReplay`. */
  add: (replay: string, after: number, limit: number) => Promise<ReplayStep>;
  progressOf: (runs: RunRange) => Promise<ReplayProgress>;
}

export interface BulkJobs {
  start(work: BulkWork): BulkJobJson;
  get(replay: string): BulkJobJson | undefined;
  /** The latest job. */
  latest(): BulkJobJson | undefined;
  /** Adds no further runs. */
  stop(replay: string): void;
}

const POLL_MS = 250;
const MAX_JOBS = 20;

export function createBulkJobs({ pollMs = POLL_MS } = {}): BulkJobs {
  const jobs = new Map<string, BulkJobJson>();
  return {
    start({ add, progressOf }) {
      const replay = crypto.randomUUID();
      const job: BulkJobJson = {
        replay, added: 0, isAdding: true, isStopped: false, isFinished: false, error: null, runs: NO_PROGRESS,
      }; // prettier-ignore
      jobs.set(replay, job);
      const [oldest] = jobs.keys();
      if (jobs.size > MAX_JOBS && oldest !== undefined) jobs.delete(oldest);
      const work = {
        add: (after: number, limit: number) => add(replay, after, limit),
        progressOf,
        pollMs,
        isStopped: () => job.isStopped,
        onProgress: ({ added, isAdding, progress }: { added: number; isAdding: boolean; progress: ReplayProgress }) =>
          void Object.assign(job, { added, isAdding, runs: progress }),
      };
      runBulkReplay(work)
        .then((runs) => (job.runs = runs))
        .catch((error: unknown) => (job.error = messageOf(error)))
        .finally(() => Object.assign(job, { isAdding: false, isFinished: true }));
      return job;
    },
    get: (replay) => jobs.get(replay),
    latest: () => [...jobs.values()].at(-1),
    stop(replay) {
      const job = jobs.get(replay);
      if (job) job.isStopped = true;
    },
  };
}
