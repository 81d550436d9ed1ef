// The context that one attempt of a handler receives. Its log is printed and stored with the run, within bounds.

import { AsyncLocalStorage } from "node:async_hooks";

import type { ClerkClient } from "@clerk/backend";
import type { TransactionSQL } from "bun";

import type { ClerkEvent } from "../clerk/events.ts";
import { inspectWithoutHost } from "../host-frames.ts";
import type { ClaimedRun, LogLine } from "../inbox/inbox.ts";
import type { HandlerContext, HandlerLog } from "../index.ts";

// Enough to understand a run; a handler in a loop must not fill the disk.
const LOG_BYTES = 65_536;
// Counted per line besides its text, so that empty lines are bounded, too.
const LINE_BYTES = 32;

export interface CurrentRun {
  handler: string;
  delivery: string;
  log: HandlerLog;
  /** Records an uncaught error on the run, even after the run has ended. */
  fail: (message: string) => void;
}

/** The run whose code is executing, also in a timer that outlives the run. */
export const currentRun = new AsyncLocalStorage<CurrentRun>();

// A timer that the logger sets in a handler's context would belong to the handlers' graph, and end with it.
const asHost = AsyncLocalStorage.snapshot();

interface ContextOptions {
  run: ClaimedRun;
  event: ClerkEvent;
  log: HandlerLog;
  /** Both are created on first access. */
  readonly signal: { readonly signal: AbortSignal };
  readonly db: TransactionSQL;
  clerk: ClerkClient | undefined;
}

export function createContext(options: ContextOptions): HandlerContext {
  const { run, event, log, clerk } = options;
  const { id, receivedAt, receipts, sample } = run.delivery;
  return {
    event,
    data: event.data,
    delivery: { id, receivedAt: new Date(receivedAt), receipts, sample },
    run: {
      attempt: run.spent + 1,
      replay: run.replay !== "",
      stale: run.stale,
      idempotencyKey: [id, run.handler, run.replay].filter(Boolean).join("/"),
    },
    get db() {
      return options.db;
    },
    log,
    get signal() {
      return options.signal.signal;
    },
    clerk: clerk ?? noClerk,
  };
}

// Properties that `await`, JSON.stringify, test matchers and the like read of any object.
const READ_OF_ANY_OBJECT = new Set<string | symbol>([
  "$$typeof", "asymmetricMatch", "constructor", "nodeType", "then", "toJSON", "toString", "valueOf",
]); // prettier-ignore

/** `clerk` without a key: it can be spread, printed and tested, and throws on use. */
const noClerk = new Proxy({} as ClerkClient, {
  get(target, name) {
    if (typeof name === "symbol" || READ_OF_ANY_OBJECT.has(name)) return Reflect.get(target, name) as unknown;
    throw new Error(`clerk.${name} needs CLERK_SECRET_KEY: copy it from the Clerk Dashboard, API keys, into .env`);
  },
});

/** A log and its stored lines. `print` is called for each line, in the host's async context. */
export function createLog(print: (line: LogLine) => void): { lines: LogLine[]; log: HandlerLog } {
  const lines: LogLine[] = [];
  let left = LOG_BYTES;
  const write =
    (level: LogLine["level"]) =>
    (...parts: unknown[]) => {
      if (left <= 0) return;
      const text = parts.map((part) => (typeof part === "string" ? part : inspectWithoutHost(part))).join(" ");
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
