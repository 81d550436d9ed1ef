// Opens an inbox: a store, the core over it, and the inbox's monotonic clock.

import { join } from "node:path";

import { createCore, savedClock } from "./core.ts";
import { withUserErrors } from "./data-dir.ts";
import type { Inbox } from "./inbox.ts";
import { refuseMoved } from "./move-marks.ts";
import { openPostgresStore, type PostgresOptions, type PostgresUrl, toInboxError } from "./postgres.ts";
import type { SqliteOptions } from "./sqlite-connection.ts";
import { openSqliteStore } from "./sqlite.ts";
import { query, type Store } from "./store.ts";

export interface InboxOptions {
  /** Wall clock in milliseconds, read once when the inbox opens. After that, only the monotonic clock is used. */
  wallClock?: () => number;
  monotonic?: () => number;
  retentionPace?: number;
  /** Called when commits begin to fail, with the reason, and without one when they succeed again. */
  onTrouble?: (reason?: unknown) => void;
  /** Called with an error of the code that starts claimed runs. */
  onBug?: (error: unknown) => void;
}

type SqliteInboxOptions = InboxOptions & SqliteOptions;
type PostgresInboxOptions = InboxOptions & PostgresOptions;

const INBOX_FILE = "inbox.db";

const DATABASE_CLOCK = query({ scale: "int" })`select (extract(epoch from clock_timestamp()) * :scale)::bigint as now`;

/** Opens, and creates, the inbox of a data folder. Throws a `UserError` with a remedy when it can't. */
export async function openSqliteInbox(dataDir: string, options: SqliteInboxOptions = {}): Promise<Inbox> {
  const path = inboxPath(dataDir);
  const store = withUserErrors(path, () => openSqliteStore(path, options));
  return closeOnFailure(store, () => openCore(store, options));
}

/**
 * Opens, and creates, the inbox in a Postgres database, which several servers may share. Rejects with `InboxUnavailable`
 * when Postgres does not answer.
 */
export async function openPostgresInbox(url: PostgresUrl, options: PostgresInboxOptions = {}): Promise<Inbox> {
  const store = await openPostgresStore(url, options);
  return closeOnFailure(store, async () => {
    try {
      // The database's clock is the one that all servers share.
      const [row] = await store.read.all<{ now: number }>(DATABASE_CLOCK, { scale: 1_000 });
      return await openCore(store, { wallClock: () => row!.now, ...options });
    } catch (error) {
      // The start is repeated until Postgres is available.
      throw toInboxError(error);
    }
  });
}

export function inboxPath(dataDir: string): string {
  return join(dataDir, INBOX_FILE);
}

async function closeOnFailure<T>(store: Store, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Delays use the inbox's clock: a wall clock that was once wrong must not block an order key for months. */
async function openCore(store: Store, options: InboxOptions): Promise<Inbox> {
  const { wallClock = Date.now, monotonic = () => performance.now(), ...rest } = options;
  await refuseMoved(store);
  const [base, openedAt] = [Math.max(await savedClock(store), wallClock()), monotonic()];
  return createCore(store, { ...rest, clock: () => Math.round(base + monotonic() - openedAt) });
}
