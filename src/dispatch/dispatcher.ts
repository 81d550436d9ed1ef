// Decides which runs go now. It claims heads of lanes, within each handler's slots, and records how they end.
// A slot is free, and a lane goes on, only when the end of a run is flushed: the next one is claimed in that very commit.

import type { ClerkClient } from "@clerk/backend";

import { InboxUnavailable } from "../errors.ts";
import type { HandlerTable } from "../handlers/loader.ts";
import type { Inbox, LogLine, Outcome, Ticket } from "../inbox/inbox.ts";
import { type Arrivals, createArrivals } from "./arrivals.ts";
import { runAttempt } from "./attempt.ts";
import { AFTER_TROUBLE_MS, createClaims } from "./claims.ts";
import type { Effects } from "./effects.ts";
import { createEnds } from "./ends.ts";
import { takeUpOrphans } from "./orphans.ts";
import { createSlots } from "./slots.ts";
import { createTimeouts } from "./timeout.ts";
import { createWatchdog, type Watchdog } from "./watchdog.ts";

interface DispatcherOptions {
  inbox: Inbox;
  /** The handlers as they are now. */
  table: () => HandlerTable;
  /** Runs at a time of one handler. */
  concurrency: number;
  /** Where handlers write. */
  effects: Effects;
  clerk?: ClerkClient | undefined;
  /** Told of each end of an attempt, for the log. */
  onOutcome?: (ticket: Ticket, outcome: Outcome) => void;
  /** A line that a handler logged. */
  onLog?: (ticket: Ticket, line: LogLine) => void;
  /** `_dead.ts` failed: it is not called again for the same run. */
  onDeadError?: (error: unknown) => void;
  /** An error that a handler's code threw after its attempt had ended. */
  onLate?: (ticket: Ticket, says: string) => void;
  /** A run's end that could not be recorded, or a claim that failed: it is tried again. */
  onTrouble?: (error: unknown) => void;
  /** Names handlers that block the thread. Default: one that writes to the log, in `logFormat`. */
  watchdog?: Watchdog;
  logFormat?: "pretty" | "json";
  now?: () => number;
}

export interface Dispatcher {
  /** Stores a delivery, and begins in that very commit what has a free slot. Its `event`, when it is given, is theirs. */
  accept: Arrivals["accept"];
  /** The inbox's. */
  readonly writable: boolean;
  /** Looks for work; a hint, as often as you like. */
  wake(): void;
  /** The table of handlers is another one: runs whose handler is gone wait, those whose handler came back go on. */
  tableChanged(): Promise<void>;
  /** Runs that are going on now. */
  readonly running: number;
  /** Resolves when nothing runs and nothing could: every run has ended, or waits for a time, a file or an earlier run. */
  idle(): Promise<void>;
  /** Claims no more, waits for running handlers, and gives back what has not ended after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

const HOUR_MS = 3_600_000;
const NONE: ReadonlySet<string> = new Set();
// Giving an attempt back takes a rollback and a commit.
const GIVING_BACK_MS = 2_000;

/** Takes up what a crash left behind, then dispatches until it is stopped. */
export async function startDispatcher(options: DispatcherOptions): Promise<Dispatcher> {
  const {
    inbox,
    table,
    concurrency,
    effects,
    clerk,
    onOutcome,
    onLog,
    onLate,
    onDeadError,
    onTrouble,
    now = Date.now,
  } = options;
  const owner = crypto.randomUUID();
  const slots = createSlots(concurrency);
  /** Runs that we hold an attempt of, or whose end is not yet flushed. */
  const held = new Map<number, Promise<void>>();
  const { watchdog = createWatchdog(options.logFormat ?? "json") } = options;
  const shutdown = new AbortController();
  const timeouts = createTimeouts(shutdown.signal);
  const stopping = Promise.withResolvers<void>();
  let stopped = false;
  const arrivals = createArrivals({
    inbox,
    owner,
    slots,
    ready: () => (stopped || claims.failed || claims.alone ? NONE : table().loaded),
    begin,
    onFailed: () => claims.fail(),
    onFreed: () => claims.freed(),
  });
  const claims = createClaims({
    inbox,
    owner,
    slots,
    loaded: () => table().loaded,
    begin,
    held: () => new Set(held.keys()),
    rest: allHeld,
    pending: arrivals.pending,
    stopping: stopping.promise,
    trouble,
  });

  const end = createEnds({ inbox, slots, claims, table, shutdown: shutdown.signal, onOutcome, onDeadError, trouble });
  const orphans = await takeUpOrphans({
    inbox,
    effects,
    owner,
    table,
    now,
    shutdown: shutdown.signal,
    end(ticket, outcome) {
      slots.take(ticket.handler);
      return end(ticket, outcome);
    },
  });
  await inbox.park(table().loaded);
  await inbox.sweep();
  inbox.onWork(() => claims.wake());
  const sweeper = setInterval(() => void inbox.sweep().catch(trouble), HOUR_MS).unref();
  claims.wake();

  async function allHeld() {
    while (arrivals.pending.size > 0 || held.size > 0)
      await Promise.allSettled([...arrivals.pending, ...held.values()]);
  }

  function begin(tickets: readonly Ticket[]) {
    for (const ticket of tickets) {
      slots.take(ticket.handler);
      const going = attempt(ticket, () => {
        // Its next attempt may have been claimed in the commit that ended this one.
        if (held.get(ticket.run) === going) held.delete(ticket.run);
      });
      held.set(ticket.run, going);
    }
  }

  async function attempt(ticket: Ticket, over: () => void) {
    const turn = slots.turn(ticket.handler);
    const leave = typeof turn === "function" ? turn : await turn;
    const handler = table().get(ticket.handler);
    const outcome: Outcome | undefined =
      stopped || !handler?.code
        ? { kind: "released" }
        : await runAttempt({
            ticket,
            handler,
            code: handler.code,
            clerk,
            effects,
            timeouts,
            watchdog,
            shutdown: shutdown.signal,
            now,
            print: (line) => onLog?.(ticket, line),
            onLate: (says) => onLate?.(ticket, says),
          });
    leave();
    if (outcome) await end(ticket, outcome);
    // Its file went away meanwhile: a run that waits for it must not hold its lane.
    if (!table().loaded.has(ticket.handler)) await park();
    over();
  }

  /** Lets runs wait whose handler can't run, and those go on whose handler can; again and again while the disk refuses. */
  async function park(): Promise<void> {
    try {
      await inbox.park(table().loaded);
      claims.wake();
    } catch (error) {
      trouble(error);
      if (stopped) return;
      await Bun.sleep(AFTER_TROUBLE_MS);
      return park();
    }
  }

  function trouble(error: unknown) {
    if (!(error instanceof InboxUnavailable)) onTrouble?.(error);
  }

  let stop: Promise<void> | undefined;
  return {
    accept: (...words) => arrivals.accept(...words),
    get writable() {
      return inbox.writable;
    },
    wake: () => claims.wake(),
    tableChanged: park,
    get running() {
      return held.size;
    },
    async idle() {
      await orphans.over;
      await rest();
    },
    stop: (graceMs) => (stop ??= stopOnce(graceMs)),
  };

  async function stopOnce(graceMs: number) {
    stopped = true;
    stopping.resolve();
    slots.open();
    claims.stop();
    clearInterval(sweeper);
    await restWithin(graceMs);
    shutdown.abort();
    await restWithin(GIVING_BACK_MS);
    watchdog.stop();
  }

  async function restWithin(limitMs: number) {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const limit = setTimeout(resolve, limitMs);
    await Promise.race([rest(), late]);
    // Left running, it would keep the process alive.
    clearTimeout(limit);
  }

  /** A claim that is under way may still begin runs; they are given back. */
  async function rest() {
    do {
      await claims.over;
      await allHeld();
    } while (claims.going || held.size > 0);
  }
}
