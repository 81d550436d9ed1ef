// Opens what a server stores in: the inbox, the handlers' database and, with Postgres, its place among the other servers.

import { type Cluster, joinCluster, singleServer } from "./cluster/cluster.ts";
import { openMembership } from "./cluster/membership.ts";
import type { Config } from "./config.ts";
import { type Effects, openEffects } from "./db/effects.ts";
import type { SchemaStep } from "./db/schema.ts";
import { describeDatabase } from "./db/url.ts";
import { InboxUnavailable } from "./errors.ts";
import type { Inbox } from "./inbox/inbox.ts";
import { type InboxOptions, inboxPath, openPostgresInbox, openSqliteInbox } from "./inbox/open.ts";
import { logDatabaseTrouble, logFenced, logInboxTrouble, logQueue } from "./log.ts";
import type { Logger } from "./logger.ts";
import { createCheckpointer } from "./store/checkpoint.ts";
import { checkNewInbox, lockDataDir } from "./store/data-dir.ts";

export interface Storage extends AsyncDisposable {
  inbox: Inbox;
  effects: Effects;
  cluster: Cluster;
}

interface StorageOptions {
  onSchema: (step: SchemaStep) => void;
  /** Called when Postgres can't be reached at the start. Returns a function to call when it can. */
  onUnavailable: (reason: unknown) => Promise<() => Promise<void>>;
  /** Ends the wait for Postgres. */
  signal?: AbortSignal | undefined;
}

// A rolling deploy starts the new server before the old one has released the folder.
const START_WAITS_MS = 30_000;
const RETRY_MS = 1_000;

/** After an error, everything that it has opened is closed. */
export async function openStorage(config: Config, log: Logger, options: StorageOptions): Promise<Storage> {
  await using opened = new AsyncDisposableStack();
  const { inbox: address, database, dataDir } = config;
  if (!address) opened.defer(await lock(config, log));
  const effects = opened.use(
    await openEffects(database, {
      max: config.concurrency,
      onTrouble: (reason) => logDatabaseTrouble(log, describeDatabase(database), reason),
      onSchema: options.onSchema,
      onQueue: (waiting) => logQueue(log, waiting),
    }),
  );
  const where = address ? describeDatabase(address) : inboxPath(dataDir);
  const inboxOptions: InboxOptions = {
    onTrouble: (reason) => logInboxTrouble(log, where, reason),
    onBug: (error) => log.error({ err: error }, "claimed runs could not be started because of a bug in Bellhop"),
  };
  if (!address) await checkEffects(config, log, effects);
  const inbox = opened.use(
    address
      ? await openWhenAvailable(() => openPostgresInbox(address, inboxOptions), options, inboxOptions)
      : await openSqliteInbox(dataDir, { ...inboxOptions, checkpointer: createCheckpointer(inboxPath(dataDir)) }),
  );
  const cluster = address ? joinCluster((events) => openMembership(address, events)) : singleServer();
  opened.defer(() => cluster.stop());
  await cluster.ready;
  cluster.listen({
    onFenced: (reason) => logFenced(log, reason),
    onResumed: () => logFenced(log, undefined),
  });
  const everything = opened.move();
  return { inbox, effects, cluster, [Symbol.asyncDispose]: () => everything.disposeAsync() };
}

/** Keeps a second server out of the folder. Returns a function that releases it. */
function lock({ dataDir, mode }: Config, log: Logger): Promise<() => void> {
  return lockDataDir(dataDir, {
    waitMs: mode === "start" ? START_WAITS_MS : 0,
    onWait: () => log.info(`another server is using ${dataDir}: waiting for it to stop`),
    onRestored: () =>
      log.warn(
        `server.lock in ${dataDir} was removed, and has been created again, because it keeps a second server out`,
      ),
  });
}

/** A new inbox beside effects of earlier runs was probably moved or deleted. */
async function checkEffects({ dataDir, database }: Config, log: Logger, effects: Effects) {
  const newInbox = checkNewInbox(inboxPath(dataDir), () => effects.hasRuns());
  newInbox.then(
    (warning) => warning && log.warn(warning),
    (error: Error) => database.kind === "postgres" && log.warn(error.message),
  );
  // An unavailable Postgres must not delay deliveries.
  if (database.kind === "sqlite") await newInbox;
}

/** Retries until Postgres answers. Rejects with an error that only a person can fix. */
async function openWhenAvailable(
  open: () => Promise<Inbox>,
  { onUnavailable, signal }: StorageOptions,
  { onTrouble }: InboxOptions,
): Promise<Inbox> {
  let end: (() => Promise<void>) | undefined;
  while (true)
    try {
      const inbox = await open();
      await end?.();
      if (end) onTrouble?.();
      return inbox;
    } catch (error) {
      if (!(error instanceof InboxUnavailable)) throw error;
      if (signal?.aborted) {
        await end?.();
        throw error;
      }
      if (!end) {
        onTrouble?.(error.cause ?? error);
        end = await onUnavailable(error.cause ?? error);
      }
      await Bun.sleep(RETRY_MS);
    }
}
