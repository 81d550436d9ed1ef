// The module that handlers import as "bellhop": `on`, the error classes, and the types.
// Handlers load in their own module graph; `handlers/loader.ts` passes them this instance.

import type { ClerkClient } from "@clerk/backend";
import type { Static, TSchema, TUnknown } from "@sinclair/typebox";
import type { TransactionSQL } from "bun";

import type { ClerkEvent, EventPattern } from "./clerk/events.ts";

export { Type as t } from "@sinclair/typebox";
export type { ClerkEvent, ClerkEvents, EventName, EventPattern } from "./clerk/events.ts";

/** Options for the runs of a handler. */
export interface HandlerOptions<Data extends TSchema = TSchema> {
  /** Attempts before a run is dead. Default: 8, over about eight hours. */
  attempts?: number;
  /** How long one attempt may take: milliseconds or `"500ms"`, `"30s"`, `"5m"`. Default: `"30s"`. */
  timeout?: number | string;
  /** Whether an event runs after a later one of its subject is done. Default: `"run"`, with `run.stale` set. */
  stale?: "run" | "skip";
  /**
   * Whether the handler is paused by itself when many runs of different subjects in a row fail alike, as when an API is down,
   * until one of its runs succeeds again. Default: true.
   */
  breaker?: boolean;
  /**
   * The schema of data that *your* application stores in `public_metadata` and the like. It types `data`. A run whose event
   * does not match is dead at once, with the path and the reason, because a retry would not help.
   *
   *     data: t.Object({ public_metadata: t.Object({ plan: t.String() }) })
   */
  data?: Data;
}

/** The argument of a handler. `Data` is the type of its `data` option. */
export type HandlerContext<P extends EventPattern = "*", Data = unknown> = ContextOf<ClerkEvent<P>, Data>;

// Generic in the event and not in its name, so that the context of one event fits a function for several.
interface ContextOf<Event extends { data: unknown }, Data> {
  /** The event as Clerk sent it, `timestamp` always in milliseconds. */
  event: Event;
  /** `event.data`, typed by the `data` option. */
  data: Event["data"] & Data;
  delivery: {
    /** The `svix-id`. */
    id: string;
    receivedAt: Date;
    /** How often the message was received. */
    receipts: number;
    /** A Dashboard "Send example". */
    sample: boolean;
  };
  run: {
    /** 1 for the first attempt. */
    attempt: number;
    /** Whether a person requested this run. */
    replay: boolean;
    /** A later event of this subject is done already. */
    stale: boolean;
    /** The same for all attempts of a run, new for a replay: pass it to Resend, Stripe and the like. */
    idempotencyKey: string;
  };
  /**
   * A transaction on `DATABASE_URL`. It begins at its first use, is committed with the run, and rolled back by a throw.
   *
   *     await db`insert into profiles (user_id) values (${data.id})`;
   *
   * A failed query fails the run, even if its error is caught. For queries that may fail: `db.savepoint(async (sp) => …)`.
   */
  db: TransactionSQL;
  /** Logs with the handler's name and the delivery, and stores the line with the run. */
  log: HandlerLog;
  /** Aborted when the attempt has timed out or the server shuts down. Pass it to `fetch`. */
  signal: AbortSignal;
  /** Clerk's Backend API. Using it without `CLERK_SECRET_KEY` throws. */
  clerk: ClerkClient;
}

/** Takes a message and further values. */
export type HandlerLog = Record<"debug" | "info" | "warn" | "error", (message: string, ...more: unknown[]) => void>;

export type HandlerFunction<P extends EventPattern = "*", Data = unknown> = (
  context: HandlerContext<P, Data>,
) => unknown;

/** The argument of `handlers/_dead.ts`, which is called for each dead run until it succeeds, at most four times. */
export interface DeadRun {
  run: { handler: string; attempts: number; reason: string; replay: boolean };
  delivery: { id: string; type: string; subject: string | null; receivedAt: Date; sample: boolean };
  /** The error of the last attempt. */
  error: {
    name: string;
    message: string;
    stack?: string;
    /** Its `cause`, or an AggregateError's `errors`, and theirs; `at` is the line in your code. */
    causes?: { name: string; message: string; at?: string }[];
  };
}

/** The result of `on()`: the function with its event and options. */
export type RegisteredHandler<P extends EventPattern = "*"> = HandlerFunction<P> & {
  readonly [registration]: { event: string; options: HandlerOptions };
};

/** The key under which `on()` stores the event and the options for the loader. */
export const registration: unique symbol = Symbol("bellhop.handler");

/** Creates the tables that a handler writes to, if they do not exist. */
export type MakeTables = (tx: TransactionSQL) => Promise<void>;

/** The key under which a handler with tables stores its `MakeTables` function for the loader. */
export const makeTables: unique symbol = Symbol("bellhop.tables");

/** This count detects files that call `on()` and export nothing. */
export let registrations = 0;

/**
 * Types a handler by its event: a name, a pattern or `*`. Throws if `handler` is not a function.
 *
 *     export default on("user.created", { attempts: 5 }, async ({ data, log }) => { … });
 */
export function on<P extends EventPattern>(event: P, handler: HandlerFunction<P>): RegisteredHandler<P>;
export function on<P extends EventPattern, Data extends TSchema = TUnknown>(
  event: P,
  options: HandlerOptions<Data>,
  handler: HandlerFunction<P, Static<Data>>,
): RegisteredHandler<P>;
export function on<P extends EventPattern>(
  event: P,
  optionsOrHandler: HandlerOptions | HandlerFunction<P>,
  // The overloads above type its data by the schema.
  maybeHandler?: HandlerFunction<P, any>,
): RegisteredHandler<P> {
  const [options, handler] =
    typeof optionsOrHandler === "function" ? [{}, optionsOrHandler] : [optionsOrHandler, maybeHandler];
  if (typeof handler !== "function")
    throw new TypeError(`on("${event}", …) got no function; write on("${event}", ({ data }) => { … })`);
  registrations += 1;
  // A new function, so that one shared function can be registered twice.
  return Object.assign((context: HandlerContext<P>) => handler(context), { [registration]: { event, options } });
}

/** Thrown by a handler when a retry would not help: the run is dead at once. */
export class NonRetriableError extends Error {
  override name = "NonRetriableError";
}

/** Thrown by a handler to set the time of the next attempt: after milliseconds, after `"30s"`, or at a Date. */
export class RetryAfterError extends Error {
  override name = "RetryAfterError";

  constructor(
    message: string,
    readonly when: number | string | Date,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
