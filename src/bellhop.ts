// What `import … from "bellhop"` gives a handler: `on`, the error classes, and the types.
// Handlers load in a module graph of their own; `handlers/loader.ts` hands them this very instance.

import type { ClerkClient } from "@clerk/backend";
import type { Static, TSchema, TUnknown } from "@sinclair/typebox";
import type { TransactionSQL } from "bun";

import type { ClerkEvent, EventPattern } from "./clerk/events.ts";

export { Type as t } from "@sinclair/typebox";
export type { ClerkEvent, ClerkEvents, EventName, EventPattern } from "./clerk/events.ts";

/** How a handler's runs go. */
export interface HandlerOptions<Data extends TSchema = TSchema> {
  /** Attempts before a run is dead. Default: 8, over about eight hours. */
  attempts?: number;
  /** How long one attempt may take: milliseconds or `"500ms"`, `"30s"`, `"5m"`. Default: `"30s"`. */
  timeout?: number | string;
  /** What happens to an event that comes after a later one of its subject is done. Default: `"run"`, with `run.stale`. */
  stale?: "run" | "skip";
  /**
   * What *your* application puts into `public_metadata` and the like. It types `data`; a run whose event does not fit is
   * dead at once, with the path and the reason, since a retry would not help.
   *
   *     data: t.Object({ public_metadata: t.Object({ plan: t.String() }) })
   */
  data?: Data;
}

/** What a handler is given. `Data` is what its `data` option adds. */
export type HandlerContext<P extends EventPattern = "*", Data = unknown> = ContextOf<ClerkEvent<P>, Data>;

// Of the event, not of its name: so that a context of one event fits a function that takes several.
interface ContextOf<Event extends { data: unknown }, Data> {
  /** The event as Clerk sent it, `timestamp` always in milliseconds. */
  event: Event;
  /** `event.data`, as the `data` option says it is. */
  data: Event["data"] & Data;
  delivery: {
    /** The `svix-id`. */
    id: string;
    receivedAt: Date;
    /** How often the message has come. */
    receipts: number;
    /** A Dashboard "Send example". */
    sample: boolean;
  };
  run: {
    /** 1 for the first. */
    attempt: number;
    /** Somebody asked for it. */
    replay: boolean;
    /** A later event of this subject is done already. */
    stale: boolean;
    /** The same for all attempts of a run, new for a replay: pass it to Resend, Stripe and the like. */
    idempotencyKey: string;
  };
  /**
   * A transaction on `DATABASE_URL`, begun at its first use and committed with the run; a throw takes everything back.
   *
   *     await db`insert into profiles (user_id) values (${data.id})`;
   *
   * A query that fails fails the run, also when its error is caught; for a part that may fail: `db.savepoint(async (sp) => …)`.
   */
  db: TransactionSQL;
  /** Prints with the handler's name and the delivery, and is kept with the run. */
  log: HandlerLog;
  /** Aborted when the attempt has timed out or the server shuts down. Hand it to `fetch`. */
  signal: AbortSignal;
  /** Clerk's Backend API, there when `CLERK_SECRET_KEY` is set. */
  clerk: ClerkClient;
}

/** A message, and what belongs to it. */
export type HandlerLog = Record<"debug" | "info" | "warn" | "error", (message: string, ...more: unknown[]) => void>;

export type HandlerFunction<P extends EventPattern = "*", Data = unknown> = (
  context: HandlerContext<P, Data>,
) => unknown;

/** What `handlers/_dead.ts` is called with: a run that was given up on, at most once for each. */
export interface DeadRun {
  run: { handler: string; attempts: number; reason: string; replay: boolean };
  delivery: { id: string; type: string; subject: string | null; receivedAt: Date; sample: boolean };
  /** Of the last attempt. */
  error: { name: string; message: string; stack?: string };
}

/** What `on()` returns: the function, and what it was registered with. */
export type RegisteredHandler<P extends EventPattern = "*"> = HandlerFunction<P> & {
  readonly [registration]: { event: string; options: HandlerOptions };
};

/** Where `on()` keeps the event and the options, for the loader. */
export const registration: unique symbol = Symbol("bellhop.handler");

/** Makes the tables that a handler writes to, where they are not there yet. */
export type MakeTables = (tx: TransactionSQL) => Promise<void>;

/** Where a handler that brings tables along keeps what makes them, for the loader. */
export const makeTables: unique symbol = Symbol("bellhop.tables");

/** Files that call `on()` and export nothing are found by this count. */
export let registrations = 0;

/**
 * Fixes a handler's types by its event: a name, a kind or everything. Throws on no function.
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
  // The overloads above tie its data to the schema.
  maybeHandler?: HandlerFunction<P, any>,
): RegisteredHandler<P> {
  const [options, handler] =
    typeof optionsOrHandler === "function" ? [{}, optionsOrHandler] : [optionsOrHandler, maybeHandler];
  if (typeof handler !== "function")
    throw new TypeError(`on("${event}", …) got no function; write on("${event}", ({ data }) => { … })`);
  registrations += 1;
  // A function of its own, so that one shared function can be registered twice.
  return Object.assign((context: HandlerContext<P>) => handler(context), { [registration]: { event, options } });
}

/** Thrown by a handler that knows that a retry would not help: the run is dead at once. */
export class NonRetriableError extends Error {
  override name = "NonRetriableError";
}

/** Thrown by a handler that knows when to try again: after milliseconds, after `"30s"`, or at a Date. */
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
