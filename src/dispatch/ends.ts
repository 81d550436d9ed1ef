// Records how attempts end: until an end is flushed, its lane stands still.

import type { HandlerTable } from "../handlers/loader.ts";
import type { Inbox, Outcome, Ticket } from "../inbox/inbox.ts";
import { AFTER_TROUBLE_MS, type Claims } from "./claims.ts";
import { tellDead } from "./dead.ts";
import type { Slots } from "./slots.ts";

interface EndsOptions {
  inbox: Pick<Inbox, "settle">;
  slots: Slots;
  claims: Pick<Claims, "freed">;
  table: () => HandlerTable;
  /** Aborted, nobody waits for a disk: the next start finds the run interrupted, and runs it again. */
  shutdown: AbortSignal;
  onOutcome?: ((ticket: Ticket, outcome: Outcome) => void) | undefined;
  onDeadError?: ((error: unknown) => void) | undefined;
  trouble: (error: unknown) => void;
}

/** Gives the slot of a ticket back with its end; resolves when that is on the disk and everybody who listens was told. */
export type End = (ticket: Ticket, outcome: Outcome) => Promise<void>;

export function createEnds(options: EndsOptions): End {
  const { inbox, slots, claims, table, shutdown, onOutcome, onDeadError, trouble } = options;

  /** Again and again while the disk refuses. False: the attempt was another's by then, or nobody waits any more. */
  async function settle(ticket: Ticket, outcome: Outcome): Promise<boolean> {
    for (let failures = 0; ; failures += 1) {
      // The write is asked for first, so that a claim which counts on its slot shares its commit, or comes after it.
      const settled = inbox.settle(ticket, outcome);
      slots.giveBack(ticket.handler);
      claims.freed();
      try {
        // Lost after a failure: that commit was durable all the same.
        return (await settled) === "settled" || failures > 0;
      } catch (error) {
        slots.take(ticket.handler);
        if (failures === 0) trouble(error);
        if (shutdown.aborted) return false;
        await Bun.sleep(AFTER_TROUBLE_MS);
      }
    }
  }

  return async (ticket, outcome) => {
    if (!(await settle(ticket, outcome))) return;
    onOutcome?.(ticket, outcome);
    const code = table().dead?.code;
    if (outcome.kind === "dead" && code) await tellDead(code, ticket, outcome).catch((error) => onDeadError?.(error));
  };
}
