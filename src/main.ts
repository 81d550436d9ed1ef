#!/usr/bin/env bun
// Opens everything in order and closes it in reverse; which command was typed is decided in `cli/`.

import { resolve } from "node:path";

import { createClerk } from "./clerk/client.ts";
import { eventNames } from "./clerk/events.ts";
import { localUrl } from "./cli/banner.ts";
import { runCli } from "./cli/cli.ts";
import type { Config } from "./config.ts";
import { startDispatcher } from "./dispatch/dispatcher.ts";
import { openEffects } from "./dispatch/effects.ts";
import { eventTime } from "./dispatch/order.ts";
import { startRetention } from "./dispatch/retention.ts";
import { readError, sayError } from "./dispatch/thrown.ts";
import { currentRun } from "./handlers/context.ts";
import { type Change, openHandlers } from "./handlers/folder.ts";
import { type HandlerTable, schemaOf } from "./handlers/loader.ts";
import type { Inbox } from "./inbox/inbox.ts";
import { lockDataDir } from "./inbox/sqlite.ts";
import { openInboxThread } from "./inbox/thread.ts";
import { createFrames } from "./inspector/frames.ts";
import { createLive } from "./inspector/live.ts";
import { createSend } from "./inspector/send.ts";
import {
  logChange,
  logDatabaseTrouble,
  logDelivery,
  type Logger,
  logHandlerLine,
  logInboxTrouble,
  logMissing,
  logOutcome,
  logQueue,
  logRefused,
  logSchema,
} from "./log.ts";
import type { Receiver } from "./receive/app.ts";
import type { Key } from "./receive/verify.ts";

export interface Server {
  port: number;
  /** The handlers as they are now. */
  table(): HandlerTable;
  receiver: Receiver;
  /** Where the inspector is, when it is on. */
  inspectorUrl: string | undefined;
  /** From now on, requests may be signed with these. */
  useSecrets(secrets: readonly Key[], shown?: Pick<Config, "secretHint" | "secretIsOurs">): void;
  /** The address that a tunnel gives us, for people to see. */
  usePublicUrl(url: string | undefined): void;
  /** Stops accepting, answers what is in flight, lets runs finish, closes the files. Twice is once. */
  stop(): Promise<void>;
}

// A rolling deploy starts the new server before the old one has let go of the folder.
const START_WAITS_MS = 30_000;

/** Opens a whole server. Throws a `UserError` when something stands in the way, and has then closed all it had opened. */
export async function openServer(config: Config, log: Logger): Promise<Server> {
  await using opened = new AsyncDisposableStack();
  // Elysia takes longer to load than all else takes to open: meanwhile the inbox's thread starts.
  const doors = loadDoors();
  doors.catch(() => undefined);

  const waits = config.mode === "start" ? START_WAITS_MS : 0;
  const unlock = await lockDataDir(config.dataDir, waits, () =>
    log.info(`another server is using ${config.dataDir}: waiting for it to stop`),
  );
  opened.defer(unlock);
  const inbox = opened.use(
    await openInboxThread(config.dataDir, { onTrouble: (reason) => logInboxTrouble(log, reason) }),
  );
  const effects = opened.use(
    await openEffects(config.database, {
      max: config.concurrency,
      onTrouble: (reason) => logDatabaseTrouble(log, reason),
      onSchema: (of, mistake) => logSchema(log, config.handlersDir, of, mistake),
      onQueue: (waiting) => logQueue(log, waiting),
    }),
  );
  const folder = await openHandlers(config.handlersDir, (error) => lateError(log, config.handlersDir, error));
  opened.defer(() => folder.close());
  const table = () => folder.table;
  const { dead } = table();
  if (dead?.error) logChange(log, config.handlersDir, { kind: "dead", is: "broken", goesOn: false, ...dead });
  const schema = applySchema();
  // SQLite's is applied at once; a database that is away must not keep deliveries waiting.
  if (config.database.kind === "sqlite") await schema;
  const match = (type: string) =>
    table()
      .match(type)
      .map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined }));

  let { secrets } = config;
  const shown = { ...shownOf(config), publicUrl: null as string | null };
  const webhookUrl = () => localUrl(config, receiver?.port ?? config.port);
  let receiver: Receiver | undefined;
  const live = createLive({
    inbox,
    server: () => ({ ...shown, pid: process.pid, webhookUrl: webhookUrl() }),
    handlers: () => table().handlers,
    refused: () => receiver?.refused() ?? [],
    send: createSend({ webhookUrl, key: () => secrets[0] }),
    onError: inspectorFailed,
  });
  opened.defer(() => live.feed.stop());
  // Stopped after the dispatcher: it may wait for a handler's transaction.
  const retention = startRetention({
    inbox,
    effects,
    retentionDays: config.retentionDays,
    onTrouble: (error) =>
      log.warn({ err: error }, "what is older than RETENTION_DAYS could not be deleted; later again"),
  });
  opened.defer(() => retention.stop());
  const dispatcher = await startDispatcher({
    inbox,
    effects,
    table,
    concurrency: config.concurrency,
    logFormat: config.logFormat,
    clerk: await createClerk(config),
    onOutcome(ticket, outcome) {
      logOutcome(log, ticket, outcome);
      live.ended(ticket, outcome);
    },
    onLate: (ticket, says) => {
      const message = `not caught, after the run had ended: ${says}`;
      inbox.note(ticket, { level: "error", message }).catch(() => undefined);
    },
    onLog: (ticket, line) => logHandlerLine(log, ticket, line),
    onDeadError: (error) => log.error({ err: error }, "handlers/_dead.ts failed; it is not called again for this run"),
    onTrouble: (error) => log.error({ err: error }, "a run's end could not be recorded; it is tried again"),
  });
  opened.defer(() => dispatcher.stop(config.shutdownSeconds * 1_000));

  // `bun start` loads once; in dev the folder is followed.
  if (config.mode === "dev")
    folder.watch((changes) => {
      for (const change of changes) logChange(log, config.handlersDir, change);
      if (changes.some(changesSchema)) void applySchema();
      live.tableChanged();
      // Runs have been parked, or go again.
      void dispatcher.tableChanged().then(() => live.feed.manyChanged(1));
      void tellMissing(log, inbox, changes);
    });

  const { openInspector, serveSocket, socketPath, startReceiver } = await doors;
  const path = socketPath(config.dataDir);
  const frame = createFrames({ projectDir: process.cwd(), handlersDir: config.handlersDir });
  const api = { inbox, match, handlers: () => table().handlers, frame, live, onError: inspectorFailed };
  if (path) {
    const socket = serveSocket(path, api);
    opened.defer(() => socket.stop());
  } else log.warn(`the path of ${config.dataDir} is too long for a socket: commands can't reach this server`);

  const checkShape = config.mode === "dev" ? await watchShapes(log) : undefined;
  const door = startReceiver({
    ...config,
    secrets: () => secrets,
    inbox: dispatcher,
    match,
    eventTime,
    onDelivery(delivery) {
      logDelivery(log, delivery);
      live.delivered(delivery.delivery.id, delivery.status);
      checkShape?.(delivery.event.type, delivery.event.data);
    },
    onRefused: (refused, count) => logRefused(log, refused, count),
    onError: (error) => log.error({ err: error }, "a request could not be answered as it should"),
  });
  receiver = door;
  opened.defer(() => door.stop());
  // After the public door, which comes first where both want one port.
  const inspector = openInspector(config, api, (note) => log.warn(note));
  if (inspector) opened.defer(() => inspector.stop());

  function inspectorFailed(error: unknown) {
    log.error({ err: error }, "the inspector could not answer as it should");
  }

  async function applySchema() {
    const wanted = schemaOf(table());
    // A mistake is told by `onSchema`; and while the database is away, it waits.
    if (wanted) await effects.applySchema(wanted).catch(() => undefined);
  }

  const everything = opened.move();
  let stopped: Promise<void> | undefined;
  return {
    port: door.port,
    table,
    receiver: door,
    inspectorUrl: inspector?.url,
    useSecrets(fresh, { secretHint, secretIsOurs } = shown) {
      secrets = fresh;
      Object.assign(shown, { secretHint, secretIsOurs });
    },
    usePublicUrl: (url) => void (shown.publicUrl = url ?? null),
    stop: () => (stopped ??= everything.disposeAsync()),
  };
}

async function loadDoors() {
  const [receiver, socket, inspector] = await Promise.all([
    import("./receive/app.ts"),
    import("./inspector/app.ts"),
    import("./inspector/open.ts"),
  ]);
  return { ...receiver, ...socket, ...inspector };
}

function shownOf({ mode, secretHint, secretIsOurs, handlersDir, inspector }: Config) {
  return {
    mode,
    secretHint,
    secretIsOurs,
    handlersDir,
    samples: [...eventNames],
    signedIn: inspector.token !== undefined,
  };
}

function changesSchema(change: Change): boolean {
  return change.kind === "schema" || (change.kind === "live" && change.handler.code?.makeTables !== undefined);
}

/** Clerk's real payloads differ from its documents: in dev, that is said once for each type and path. */
async function watchShapes(log: Logger) {
  const { createShapeWatch } = await import("./clerk/check.ts");
  return createShapeWatch((line) => log.info(line));
}

/** What a new handler never saw is counted one handler after the other, and no further than a person cares to know. */
async function tellMissing(log: Logger, inbox: Inbox, changes: readonly Change[]) {
  for (const change of changes) {
    if (change.kind !== "live" || !change.isNew) continue;
    const { name: handler, lane, event } = change.handler;
    const query = { handler, lane, event, since: null, stale: false };
    // It fails when the server stops meanwhile: then nobody needs to know.
    const missing = await inbox.missing(query, 10_000).catch(() => undefined);
    if (missing) logMissing(log, change.handler, missing);
  }
}

function lateError(log: Logger, dir: string, thrown: unknown) {
  const run = currentRun.getStore();
  run?.fail(sayError(thrown));
  const of = run ? `${run.handler} (${run.delivery})` : (fileOf(dir, readError(thrown).error.stack) ?? "a handler");
  const fields = { handler: run?.handler, id: run?.delivery, err: thrown };
  log.error(fields, `${of} threw when nobody was there to catch it: await it, or catch it`);
}

/** A rejection that nobody awaited comes without its run; its stack still knows the file. */
function fileOf(dir: string, stack = ""): string | undefined {
  const at = stack.indexOf(`${resolve(dir)}/`);
  return at < 0 ? undefined : /^[^\s():]+/.exec(stack.slice(at))?.[0].replace(resolve(dir), dir);
}

if (import.meta.main) await runCli(process.argv.slice(2), openServer);
