// Paused handlers, one row each. A pause changes no run: servers give a paused handler no slots, so its runs wait where
// they are, and hold up only their own order keys.

import type { Pause, PauseCause } from "./inbox.ts";
import { query, type Reader, type Transaction } from "./store.ts";

const PAUSES = query({})`
  select handler, cause, reason, since, probe_at as "probeAt" from pause order by handler`;

const PAUSE = query({ handler: "text", cause: "text", reason: "text", now: "int", probe_at: "int" })`
  insert into pause(handler, since, cause, reason, probe_at) values (:handler, :now, :cause, :reason, :probe_at)
  on conflict(handler) do update set cause = excluded.cause, reason = excluded.reason, probe_at = excluded.probe_at
  where pause.cause = 'breaker' and excluded.cause = 'person'`;

const RESUME = query({ handler: "text", cause: "text" })`
  delete from pause where handler = :handler and cause = coalesce(:cause, cause)`;

// Of several servers, one moves the time.
const TAKE_PROBE = query({ handler: "text", now: "int", next: "int" })`
  update pause set probe_at = :next where handler = :handler and probe_at <= :now`;

interface PauseRow {
  handler: string;
  cause: PauseCause;
  reason: string | null;
  since: number;
  probeAt: number | null;
}

export async function pauses(reader: Reader, now: number): Promise<Pause[]> {
  const rows = await reader.all<PauseRow>(PAUSES, {});
  return rows.map(({ since, probeAt, ...pause }) => ({
    ...pause,
    pausedFor: Math.max(0, now - since),
    nextProbe: probeAt === null ? null : Math.max(0, probeAt - now),
  }));
}

interface NewPause {
  handler: string;
  cause: PauseCause;
  reason: string | null;
  probeIn: number | null;
}

/** Returns whether it was not paused already. */
export async function pause(transaction: Transaction, { probeIn, ...added }: NewPause, now: number): Promise<boolean> {
  const row = { ...added, now, probe_at: probeIn === null ? null : now + probeIn };
  return (await transaction.run(PAUSE, row)) > 0;
}

/** Returns whether there was a pause. `cause`: ends only a pause of this cause. */
export async function resume(transaction: Transaction, handler: string, cause: PauseCause | null): Promise<boolean> {
  return (await transaction.run(RESUME, { handler, cause })) > 0;
}

/** Returns whether the time of the probe had come, and no other server has taken it. */
export async function takeProbe(
  transaction: Transaction,
  handler: string,
  nextIn: number,
  now: number,
): Promise<boolean> {
  return (await transaction.run(TAKE_PROBE, { handler, now, next: now + nextIn })) > 0;
}
