// Recovers runs that a crash left running. Their outcome is unknown, so the ledger is looked up for each run. Only the
// order key of the run is blocked until the database answers.

import type { Cluster } from "../cluster/cluster.ts";
import type { Effects } from "../db/effects.ts";
import { attemptKey } from "../db/ledger.ts";
import type { HandlerTable } from "../handlers/loader.ts";
import type { ClaimedRun, Inbox, Outcome } from "../inbox/inbox.ts";
import { afterCrash } from "./retry.ts";

interface RecoveryOptions {
  inbox: Pick<Inbox, "abandoned">;
  effects: Pick<Effects, "resolve">;
  table: () => HandlerTable;
  now: () => number;
  cluster: Pick<Cluster, "seen" | "alive">;
  /** Stops the lookups. The next start repeats them. */
  signal: AbortSignal;
  end: (run: ClaimedRun, outcome: Outcome) => Promise<void>;
}

export function createRecovery(options: RecoveryOptions) {
  const { inbox, cluster } = options;
  const underWay = new Map<string, Promise<void>>();
  return {
    /** Finds abandoned runs, and starts to recover those that are not being recovered yet. */
    async start() {
      const abandoned = await inbox.abandoned(cluster.seen());
      // Each look starts this again, so a run that is being recovered must not cause another look.
      const runs = abandoned.filter((run) => !underWay.has(keyOf(run)));
      if (runs.length === 0) return;
      // A server that has started meanwhile may have claimed runs, and it was registered before.
      const owners = await cluster.alive();
      for (const run of runs) {
        const key = keyOf(run);
        if (!owners || underWay.has(key) || owners.has(run.owner)) continue;
        const recovering = recoverRun(run, options).finally(() => underWay.delete(key));
        underWay.set(key, recovering);
      }
    },
    /** Resolves when the end of each is recorded. */
    async ended() {
      while (underWay.size > 0) await Promise.all(underWay.values());
    },
  };
}

const keyOf = ({ run, attempt }: ClaimedRun) => `${run} ${attempt}`;

async function recoverRun(run: ClaimedRun, { effects, table, now, signal, end }: RecoveryOptions) {
  const state = await effects.resolve(attemptKey(run), signal).catch(() => undefined);
  if (state === "committed") await end(run, { kind: "done", record: { startedAt: now(), took: 0 }, wrote: true });
  else if (state === "void") await end(run, afterCrash(run, table().get(run.handler), now()));
}
