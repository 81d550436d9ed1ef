// Compares the mirror's tables with Clerk from time to time, on one of the servers, and reports. Never repairs anything.

import type { SQL } from "bun";

import type { Get } from "../clerk/requests.ts";
import type { Effects } from "../db/effects.ts";
import { drift, type DriftCount } from "./drift.ts";
import { refuseOtherInstance } from "./instance.ts";
import { createThrottle } from "./throttle.ts";
import type { MirrorTable } from "./write.ts";

/** The result of one comparison. */
export interface DriftReport {
  tables: DriftCount[];
  /** Differences in all tables. */
  differences: number;
}

export interface DriftScheduleOptions {
  everyMs: number;
  get: Get;
  effects: Effects;
  /** The tables of the current handlers. */
  tables: () => readonly MirrorTable[];
  isOurs?: () => boolean;
  onReport: (report: DriftReport) => void;
  onTrouble: (error: unknown) => void;
  /** Requests per second to Clerk. */
  rate?: number;
  tickMs?: number;
  now?: () => number;
}

const TICK_MS = 60_000;
// After a failure, as when Clerk's API is down.
const RETRY_MS = 3_600_000;
// Leaves the rate limit to the app.
const RATE = 4;

/** Has one row, so that a restart does not compare again, and of several servers one does. */
export const DRIFT_TABLE =
  "create table if not exists bellhop_mirror_drift (id integer primary key, due_at bigint not null)";

/** Compares at the first start, and then every `everyMs`. `stop` ends a comparison after its current page. */
export function startDriftSchedule(options: DriftScheduleOptions): { stop(): Promise<void> } {
  const { everyMs, get, effects, tables, isOurs = () => true, onReport, onTrouble, now = Date.now } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const ask = createThrottle({ rate: options.rate ?? RATE, signal });
  let round: Promise<void> | undefined;

  async function compare() {
    const into = tables();
    if (into.length === 0 || !(await effects.write((tx) => take(tx, now(), everyMs)))) return;
    try {
      await refuseOtherInstance({ get, ask, effects });
      const counts = await drift({ get, ask, effects, into, signal, onDifference: () => {} });
      const differences = counts.reduce((sum, count) => sum + count.differences, 0);
      onReport({ tables: counts, differences });
    } catch (error) {
      const again = signal.aborted ? 0 : now() + Math.min(RETRY_MS, everyMs);
      await effects.write((tx) => tx`update bellhop_mirror_drift set due_at = ${again} where id = 1`);
      if (!signal.aborted) throw error;
    }
  }

  function startRound() {
    if (!isOurs()) return;
    round ??= compare()
      .catch(onTrouble)
      .finally(() => (round = undefined));
  }

  const timer = setInterval(startRound, Math.min(options.tickMs ?? TICK_MS, everyMs)).unref();
  startRound();
  return {
    async stop() {
      clearInterval(timer);
      stopping.abort(new Error("the server stops"));
      await round;
    },
  };
}

/** Whether a comparison is due, and no other server has taken it. */
async function take(tx: SQL, now: number, everyMs: number): Promise<boolean> {
  await tx`insert into bellhop_mirror_drift (id, due_at) values (1, 0) on conflict (id) do nothing`;
  const { count } =
    await tx`update bellhop_mirror_drift set due_at = ${now + everyMs} where id = 1 and due_at <= ${now}`;
  return count > 0;
}
