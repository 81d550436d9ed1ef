// What a crash left running: nobody knows how it ended. The ledger is asked for each before anything else of its lane
// goes; its lane stands still until there is an answer, and nobody else waits for it.

import type { HandlerTable } from "../handlers/loader.ts";
import type { Inbox, Outcome, Ticket } from "../inbox/inbox.ts";
import { type Effects, ledgerKey } from "./effects.ts";
import { afterCrash } from "./retry.ts";

interface OrphansOptions {
  inbox: Inbox;
  effects: Effects;
  owner: string;
  table: () => HandlerTable;
  now: () => number;
  /** Aborted, nobody is asked any more: the next start asks. */
  shutdown: AbortSignal;
  /** Records how it ended. */
  end: (ticket: Ticket, outcome: Outcome) => Promise<void>;
}

/** Finds them now. What is returned resolves when all of them have an end. */
export async function takeUpOrphans(options: OrphansOptions): Promise<{ over: Promise<unknown> }> {
  const orphans = await options.inbox.orphans(options.owner);
  return { over: Promise.all(orphans.map((ticket) => takeUp(ticket, options))) };
}

async function takeUp(ticket: Ticket, { effects, table, now, shutdown, end }: OrphansOptions) {
  const state = await effects.resolve(ledgerKey(ticket), ticket.attempt, shutdown).catch(() => undefined);
  if (state === "committed") await end(ticket, { kind: "done", record: { startedAt: now(), took: 0 } });
  else if (state === "void") await end(ticket, afterCrash(ticket, table().get(ticket.handler), now()));
}
