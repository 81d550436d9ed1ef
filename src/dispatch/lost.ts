// Finds lost runs: done, but without effects in the handlers' database, as after one of the databases was restored from an
// older backup. They are looked up in the ledger, and replayed only on request.

import type { Effects } from "../db/effects.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { RunKey } from "../inbox/views.ts";

interface LostOptions {
  inbox: Pick<Inbox, "wroteRuns">;
  effects: Pick<Effects, "withoutRow">;
}

// The rest is found when these have been replayed.
const MAX_LOST_RUNS = 10_000;

/** Returns lost runs, oldest first. Rejects when a database does not answer. */
export async function findLost({ inbox, effects }: LostOptions): Promise<RunKey[]> {
  const lost: RunKey[] = [];
  for (let before: number | null = Number.MAX_SAFE_INTEGER; before !== null && lost.length < MAX_LOST_RUNS;) {
    const { runs, next }: Awaited<ReturnType<Inbox["wroteRuns"]>> = await inbox.wroteRuns(before);
    lost.push(...(await effects.withoutRow(runs)));
    before = next;
  }
  return lost.toReversed();
}

/** Calls `onLost` if runs are lost. Checks the newest page first: an older database always lacks the newest runs. */
export async function reportLost({
  onLost,
  ...options
}: LostOptions & { onLost: (count: number) => void }): Promise<void> {
  try {
    const { runs } = await options.inbox.wroteRuns(Number.MAX_SAFE_INTEGER);
    if ((await options.effects.withoutRow(runs)).length > 0) onLost((await findLost(options)).length);
  } catch {
    // An unavailable database is reported elsewhere, and `bun replay --lost` checks again.
  }
}
