// Opens an inbox: a store, the core over it, and the inbox's monotonic clock.

import { join } from "node:path";

import { withUserErrors } from "../store/data-dir.ts";
import { refuseMoved } from "../store/move-marks.ts";
import { openPostgresStore, type PostgresOptions, type PostgresUrl, toInboxError } from "../store/postgres.ts";
import type { SqliteOptions } from "../store/sqlite-connection.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { query, type Store } from "../store/store.ts";
import { type CoreOptions, createCore, savedClock } from "./core.ts";
import type { Inbox } from "./inbox.ts";

export interface InboxOptions extends Partial<Omit<CoreOptions, "clock">> {
  /** Wall clock in milliseconds, read once when the inbox opens. After that, only the monotonic clock is used. */
  wallClock?: () => number;
  monotonic?: () => number;
}

type SqliteInboxOptions = InboxOptions & SqliteOptions;
type PostgresInboxOptions = InboxOptions & PostgresOptions;

const INBOX_FILE = "inbox.db";

const DATABASE_CLOCK = query({ scale: "int" })`select (extract(epoch from clock_timestamp()) * :scale)::bigint as now`;

/** Opens, and creates, the inbox of a data folder. Throws a `UserError` with a remedy when it can't. */
export async function openSqliteInbox(dataDir: string, options: SqliteInboxOptions = {}): Promise<Inbox> {
  const path = inboxPath(dataDir);
  const store = withUserErrors(path, () => openSqliteStore(path, options));
  return openCore(store, options, async () => Date.now());
}

/**
 * Opens, and creates, the inbox in a Postgres database, which several servers may share. Rejects with `InboxUnavailable`
 * when Postgres does not answer.
 */
export async function openPostgresInbox(url: PostgresUrl, options: PostgresInboxOptions = {}): Promise<Inbox> {
  const store = await openPostgresStore(url, options);
  // The database's clock is the one that all servers share.
  const databaseClock = async () => (await store.read.all<{ now: number }>(DATABASE_CLOCK, { scale: 1_000 }))[0]!.now;
  return openCore(store, options, databaseClock).catch((error) => {
    // The start is repeated until Postgres is available.
    throw toInboxError(error);
  });
}

export function inboxPath(dataDir: string): string {
  return join(dataDir, INBOX_FILE);
}

/** Delays use the inbox's clock: a wall clock that was once wrong must not block an order key for months. */
async function openCore(store: Store, options: InboxOptions, readClock: () => Promise<number>): Promise<Inbox> {
  const { wallClock, monotonic = () => performance.now(), ...rest } = options;
  try {
    await refuseMoved(store);
    const wall = wallClock?.() ?? (await readClock());
    const [base, openedAt] = [Math.max(await savedClock(store), wall), monotonic()];
    return createCore(store, { ...rest, clock: () => Math.round(base + monotonic() - openedAt) });
  } catch (error) {
    await store.close();
    throw error;
  }
}
