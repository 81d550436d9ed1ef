// What one attempt of a handler is given. Its log goes to the terminal and is kept with the run, within bounds.

import { AsyncLocalStorage } from "node:async_hooks";

import type { ClerkClient } from "@clerk/backend";
import type { TransactionSQL } from "bun";

import type { HandlerContext, HandlerLog } from "../bellhop.ts";
import type { ClerkEvent } from "../clerk/events.ts";
import type { LogLine, Ticket } from "../inbox/inbox.ts";

// Enough to understand a run; a handler in a loop must not fill the disk.
const LOG_BYTES = 65_536;
// What a line costs besides its text, so that empty ones are not for free.
const LINE_BYTES = 32;

export interface CurrentRun {
  handler: string;
  delivery: string;
  log: HandlerLog;
  /** Hears an error that nobody caught: it stands on the run, also when that has ended. */
  fail: (says: string) => void;
}

/** The run whose code is running, also in a timer that it left behind. */
export const currentRun = new AsyncLocalStorage<CurrentRun>();

// A timer that the logger sets in a handler's context would belong to the handlers' graph, and end with it.
const asHost = AsyncLocalStorage.snapshot();

interface ContextOptions {
  ticket: Ticket;
  event: ClerkEvent;
  log: HandlerLog;
  /** Both are made when they are looked at. */
  readonly signal: { readonly signal: AbortSignal };
  readonly db: TransactionSQL;
  clerk: ClerkClient | undefined;
}

export function createContext(options: ContextOptions): HandlerContext {
  const { ticket, event, log, clerk } = options;
  const { id, receivedAt, receipts, sample } = ticket.delivery;
  return {
    event,
    data: event.data,
    delivery: { id, receivedAt: new Date(receivedAt), receipts, sample },
    run: {
      attempt: ticket.spent + 1,
      replay: ticket.replay !== "",
      stale: ticket.stale,
      idempotencyKey: [id, ticket.handler, ticket.replay].filter(Boolean).join("/"),
    },
    get db() {
      return options.db;
    },
    log,
    get signal() {
      return options.signal.signal;
    },
    get clerk() {
      if (!clerk)
        throw new Error("clerk needs CLERK_SECRET_KEY: copy it from the Clerk Dashboard, API keys, into .env");
      return clerk;
    },
  };
}

/** A log, and the lines that are kept of it. `print` is called for each of them, in the host's own context. */
export function createLog(print: (line: LogLine) => void): { lines: LogLine[]; log: HandlerLog } {
  const lines: LogLine[] = [];
  let left = LOG_BYTES;
  const write =
    (level: LogLine["level"]) =>
    (...parts: unknown[]) => {
      if (left <= 0) return;
      const text = parts.map((part) => (typeof part === "string" ? part : Bun.inspect(part))).join(" ");
      const bytes = Buffer.from(text);
      const fits = bytes.length + LINE_BYTES < left;
      const cut = () => `${bytes.toString("utf8", 0, left)}… (the rest of this run's log is dropped)`;
      const line = { level, message: fits ? text : cut() };
      left -= bytes.length + LINE_BYTES;
      lines.push(line);
      asHost(() => print(line));
    };
  return { lines, log: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") } };
}
