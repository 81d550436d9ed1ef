// When deliveries were received, by their order of arrival. The two agree but for clocks that were put right: how far
// they differ at most is kept, so that a time leads to an arrival by halving, without an index that each delivery pays.

import type { Database } from "bun:sqlite";

import { prepare } from "./prepare.ts";
import type { Statements } from "./statements.ts";

export type Receipts = ReturnType<typeof prepareReceipts>;

/** Arrivals from `low` to `high`, both included. */
export interface Arrivals {
  low: number;
  high: number;
}

export function prepareReceipts(db: Database, sql: Statements) {
  const atOrAfter = prepare<{ seq: number; receivedAt: number }, [number]>(
    db,
    "select seq, received_at as receivedAt from delivery where seq >= ? order by seq limit 1",
  );
  const newest = prepare<{ seq: number }, []>(db, "select seq from delivery order by seq desc limit 1");
  const saved = { latest: sql.meta.get("latest")?.value ?? 0, disorder: sql.meta.get("disorder")?.value ?? 0 };
  const now = { ...saved };

  /** Cuts all arrivals in two: the last one before `above` was received by `time`, the first one from there on later. */
  function cut(time: number): { before: number; above: number } {
    let [before, above] = [0, (newest.get()?.seq ?? 0) + 1];
    while (above - before > 1) {
      const middle = Math.floor((before + above) / 2);
      const found = atOrAfter.get(middle);
      if (!found || found.seq >= above || found.receivedAt > time) above = middle;
      else before = found.seq;
    }
    return { before, above };
  }

  return {
    received(at: number) {
      now.latest = Math.max(now.latest, at);
      now.disorder = Math.max(now.disorder, now.latest - at);
    },

    /** Part of every commit. After one that failed, all of this is read anew. */
    save() {
      for (const key of ["latest", "disorder"] as const)
        if (now[key] !== saved[key]) sql.setMeta.run(key, (saved[key] = now[key]));
    },

    /** All that was received from `since` to `until` is among these, and near the ends little else. */
    between(since: number | null, until: number | null): Arrivals {
      return {
        low: since === null ? 1 : cut(since - now.disorder - 1).before + 1,
        high: until === null ? Number.MAX_SAFE_INTEGER : cut(until + now.disorder).above - 1,
      };
    },
  };
}
