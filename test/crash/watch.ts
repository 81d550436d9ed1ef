// Looks at the inbox's tables every 50 ms while a server runs, and once more when it is dead. Each look checks all
// invariants in one snapshot.

import { INVARIANTS } from "../inbox/invariants.ts";
import type { InboxReader } from "./stores.ts";

export interface Looks {
  count: number;
  /** A sentence for each row that broke an invariant. */
  violations: Set<string>;
}

export interface Watch {
  /** Looks for the last time. */
  stop(): Promise<void>;
}

const INTERVAL_MS = 50;
const QUERIES = INVARIANTS.map(({ sql }) => sql);

export function watchInvariants(reader: InboxReader, looks: Looks, onError: (error: unknown) => void): Watch {
  let stopped = false;
  const watching = watch();

  async function watch() {
    while (!stopped) {
      await look();
      await Bun.sleep(INTERVAL_MS);
    }
    await look();
  }

  async function look() {
    try {
      const found = await reader.snapshot(QUERIES);
      looks.count += 1;
      for (const [index, rows] of found.entries())
        for (const row of rows) looks.violations.add(`not so: ${INVARIANTS[index]!.rule}: ${JSON.stringify(row)}`);
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
