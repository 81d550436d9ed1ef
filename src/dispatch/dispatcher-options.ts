// The dependencies of a dispatcher, and the events that it reports.

import type { ClerkClient } from "@clerk/backend";

import type { Cluster } from "../cluster/cluster.ts";
import type { Effects } from "../db/effects.ts";
import type { ReadFrame } from "../failures/problem-key.ts";
import type { HandlerTable } from "../handlers/loader.ts";
import type { ClaimedRun, Inbox, LogLine, Outcome } from "../inbox/inbox.ts";
import type { TraceIds, Traces } from "../monitor/traces.ts";
import type { BreakerOptions, PauseChange } from "./pauses.ts";
import type { Watchdog } from "./watchdog.ts";

export interface DispatcherOptions {
  inbox: Inbox;
  /** The servers that share the inbox. Default: this one only. */
  cluster?: Cluster;
  /** The current handlers. */
  table: () => HandlerTable;
  /** Concurrent runs of one handler. */
  concurrency: number;
  /** The database that handlers write to. */
  effects: Effects;
  clerk?: ClerkClient | undefined;
  /** Called when the end of an attempt is recorded. */
  onOutcome?: (run: ClaimedRun, outcome: Outcome) => void;
  /** When a handler is paused by itself. Default: never. */
  breaker?: BreakerOptions | undefined;
  /** Called when a handler is paused, by a person or by the breaker, and also at the start for each that is. */
  onPaused?: (change: PauseChange) => void;
  /** Called when a paused handler is resumed. */
  onResumed?: (change: PauseChange) => void;
  /** Called for each line that a handler logs. */
  onLog?: (run: ClaimedRun, line: LogLine, ids?: TraceIds) => void;
  traces?: Traces | undefined;
  /** Called when `_dead.ts` failed. It is called again in `retryMs`, if that is set. */
  onDeadError?: (error: unknown, retryMs: number | undefined) => void;
  /** Finds the line of code that threw an error. */
  frame?: ReadFrame | undefined;
  /** Called with an error that a handler's code threw after its attempt had ended. */
  onLate?: (run: ClaimedRun, message: string) => void;
  /** Called when an operation of the inbox failed because of a bug. It is retried. */
  onTrouble?: (error: unknown) => void;
  /** Detects handlers that block the thread. Stopped with the dispatcher. Default: none. */
  watchdog?: Watchdog;
  now?: () => number;
}
