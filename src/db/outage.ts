// Detects outages of the handlers' database. One killed connection is not an outage, so a test write confirms it before it
// is reported, and is then repeated until it succeeds. Reports an outage once when it begins and once when it ends.

import { SQL } from "bun";

import { withDeadline } from "../deadline.ts";
import { FileMoved } from "../open-files.ts";

interface OutagesOptions {
  /** Writes to the database like a run. Rejects while that is not possible. */
  ping: () => Promise<void>;
  onTrouble: (reason?: unknown) => void;
}

export type Outages = ReturnType<typeof watchOutages>;

const PING_EVERY_MS = 1_000;
export const PING_LIMIT_MS = 4_000;

export function watchOutages({ ping, onTrouble }: OutagesOptions) {
  let reason: unknown;
  let checking: Promise<boolean> | undefined;
  let stopped = false;

  function begin(error: unknown) {
    if (reason !== undefined || stopped) return;
    reason = error ?? new Error("the database can't be reached");
    onTrouble(reason);
    void pingUntilAvailable();
  }

  async function pingUntilAvailable() {
    while (!stopped) {
      await pause(PING_EVERY_MS);
      if (stopped || (await findTrouble()) !== undefined) continue;
      reason = undefined;
      return onTrouble();
    }
  }

  /** Why the database can't be written, or undefined. */
  function findTrouble(): Promise<unknown> {
    return withDeadline(ping(), PING_LIMIT_MS, () => new Error("it does not answer")).then(
      () => undefined,
      (error: unknown) => error ?? new Error("the database can't be reached"),
    );
  }

  async function answers(): Promise<boolean> {
    if (reason !== undefined) return false;
    const trouble = await findTrouble();
    if (trouble !== undefined) begin(trouble);
    return trouble === undefined;
  }

  return {
    /** Why the database can't be used, or undefined. */
    get reason() {
      return reason;
    },
    begin,
    /** Checks the database after an error, and reports an outage. */
    suspect() {
      if (!stopped) checking ??= answers().finally(() => (checking = undefined));
    },
    /** Whether the database answers now. */
    answers,
    stop() {
      stopped = true;
    },
  };
}

function pause(milliseconds: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, milliseconds).unref();
  return promise;
}

// Classes of SQLSTATE: connection, authentication, no such database, resources, operator, system; and read-only server, idle
// transaction ended. Not 57014: a cancelled statement was itself too slow.
const POSTGRES_OUTAGE = /^(?:08|28|3D|53|57P|58|25006|25P03)/;
const LOST_CONNECTION = /^ERR_POSTGRES_(?:CONNECTION|FAILED_TO_CONNECT|IDLE_TIMEOUT|LIFETIME_TIMEOUT)/;
const SQLITE_OUTAGE = /^SQLITE_(?:FULL|IOERR|READONLY|CANTOPEN|NOTADB|CORRUPT|NOMEM|PERM|PROTOCOL)/;

/** The database is at fault, not the statement. */
export function isOutage(error: unknown): boolean {
  if (error instanceof FileMoved) return true;
  const { code, errno } = (error ?? {}) as { code?: unknown; errno?: unknown };
  if (error instanceof SQL.PostgresError && typeof errno === "string") return POSTGRES_OUTAGE.test(errno);
  return LOST_CONNECTION.test(String(code)) || SQLITE_OUTAGE.test(String(code));
}

/** Another transaction held a row for longer than the statement was to wait. */
export function isLocked(error: unknown): boolean {
  return error instanceof SQL.PostgresError && error.errno === "55P03";
}
