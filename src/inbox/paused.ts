// Paused handlers, one row each. A pause changes no run: servers give a paused handler no slots, so its runs wait where
// they are, and hold up only their own order keys.

import { query } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";

/** `breaker`: the handler was paused because many runs in a row failed alike. */
export type PauseCause = "person" | "breaker";

/** A handler whose runs wait. */
export interface Pause {
  handler: string;
  cause: PauseCause;
  reason: string | null;
  /** Milliseconds since it was paused. */
  pausedFor: number;
  /** Milliseconds until a server may try one run; null when only a person resumes the handler. */
  nextProbe: number | null;
}

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

type PauseRow = Omit<Pause, "pausedFor" | "nextProbe"> & { since: number; probeAt: number | null };

export type StoredPauses = ReturnType<typeof createPauses>;

export function createPauses({ read, write, now }: Access) {
  return {
    async list(): Promise<Pause[]> {
      const rows = await read.all<PauseRow>(PAUSES, {});
      return rows.map(({ since, probeAt, ...pause }) => ({
        ...pause,
        pausedFor: Math.max(0, now() - since),
        nextProbe: probeAt === null ? null : Math.max(0, probeAt - now()),
      }));
    },
    /**
     * Pauses a handler, whether it exists or not. A person's pause replaces the breaker's, and not the other way round.
     * `probeIn`: milliseconds until the first probe. False when it was paused already.
     */
    pause(handler: string, cause: PauseCause, reason: string | null, probeIn: number | null): Promise<boolean> {
      const probe_at = probeIn === null ? null : now() + probeIn;
      const row = { handler, cause, reason, now: now(), probe_at };
      return write(async (transaction) => (await transaction.run(PAUSE, row)) > 0);
    },
    /** Ends a pause; with `cause`, only one of this cause. False when there was none. */
    resume: (handler: string, cause: PauseCause | null = null): Promise<boolean> =>
      write(async (transaction) => (await transaction.run(RESUME, { handler, cause })) > 0),
    /** Whether the caller may try one run of a paused handler now. The next probe is `nextIn` milliseconds later. */
    takeProbe: (handler: string, nextIn: number): Promise<boolean> =>
      write(async (transaction) => {
        const row = { handler, now: now(), next: now() + nextIn };
        return (await transaction.run(TAKE_PROBE, row)) > 0;
      }),
  };
}
