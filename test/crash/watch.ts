// Checks all invariants of the inbox's tables in one snapshot, every 50 ms while a server runs and once more after its
// death.

import { INVARIANTS } from "../inbox/invariants.ts";
import type { InboxReader } from "./stores.ts";

export interface InvariantChecks {
  snapshots: number;
  /** One sentence per row that broke an invariant. */
  violations: Set<string>;
}

export interface Watch {
  /** Checks once more, then closes the reader. */
  stop(): Promise<void>;
}

const INTERVAL_MS = 50;
const QUERIES = INVARIANTS.map(({ sql }) => sql);

export function watchInvariants(
  reader: InboxReader,
  checks: InvariantChecks,
  onError: (error: unknown) => void,
): Watch {
  let stopped = false;
  const watching = watch();

  async function watch() {
    while (!stopped) {
      await check();
      await Bun.sleep(INTERVAL_MS);
    }
    await check();
  }

  async function check() {
    try {
      const found = await reader.snapshot(QUERIES);
      checks.snapshots += 1;
      for (const [index, rows] of found.entries())
        for (const row of rows)
          checks.violations.add(`broken invariant: ${INVARIANTS[index]!.rule}: ${JSON.stringify(row)}`);
    } catch (error) {
      onError(error);
    }
  }

  return {
    async stop() {
      stopped = true;
      await watching;
      await reader[Symbol.asyncDispose]();
    },
  };
}
