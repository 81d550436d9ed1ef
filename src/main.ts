#!/usr/bin/env -S bun --no-install
// Opens all parts of a server in order and closes them in reverse. `cli/` parses the command.

import "./require-bun.ts";

import { resolve } from "node:path";

import { createCodeFrames } from "./api/code-frame.ts";
import { createObserver } from "./api/observer.ts";
import { createSend } from "./api/send-sample.ts";
import { createClerk } from "./clerk/client.ts";
import { localUrl } from "./cli/banner.ts";
import { runCli } from "./cli/cli.ts";
import { withLoaded } from "./cluster/servers.ts";
import { type Config, withAbsolutePaths } from "./config.ts";
import { describeDatabase } from "./db/url.ts";
import { startDispatcher } from "./dispatch/dispatcher.ts";
import { tryHandler } from "./dispatch/dry-run.ts";
import { findLost, reportLost } from "./dispatch/lost.ts";
import { createWatchdog } from "./dispatch/watchdog.ts";
import { InboxUnavailable } from "./errors.ts";
import { describeLateError } from "./failures/late-error.ts";
import { type Change, changesSchema, openHandlers } from "./handlers/folder.ts";
import { failsToLoad, type HandlerTable, schemaOf } from "./handlers/loader.ts";
import { logChange, logLost, logMissed, logSchema } from "./log.ts";
import type { Logger } from "./logger.ts";
import type { DriftReport } from "./mirror/drift-schedule.ts";
import { openTraces } from "./monitor/traces.ts";
import { healthOf, notifyDrift, observePauses, openAlerts, openMonitor } from "./monitoring.ts";
import { loadPorts, type Mount } from "./ports.ts";
import { createPresence } from "./presence.ts";
import type { WebhookServer } from "./receive/server.ts";
import type { Key } from "./receive/verify.ts";
import { createReports } from "./reporting.ts";
import { createServerInfo } from "./server-info.ts";
import { openStorage } from "./storage.ts";
import { countMissed } from "./upkeep/missed.ts";
import { startUpkeep } from "./upkeep/upkeep.ts";

export interface Server {
  port: number;
  /** The current handlers. */
  table(): HandlerTable;
  receiver: WebhookServer;
  /** The inspector's address, if it is enabled. */
  inspectorUrl: string | undefined;
  /** The same with the token of this start, for a browser on this machine: to print, never to log. */
  inspectorLink: string | undefined;
  /** The port of METRICS_PORT, if it is set. */
  metricsPort: number | undefined;
  /** Replaces the secrets with which requests may be signed. */
  useSecrets(secrets: readonly Key[], shown?: Pick<Config, "secretHint" | "isDevSecret">): void;
  /** Sets the public address of a tunnel, for display. */
  usePublicUrl(url: string | undefined): void;
  /** Stops accepting, answers requests in flight, lets runs finish, and closes the files. Idempotent. */
  stop(): Promise<void>;
}

/** Opens a whole server. After an error, everything that it has opened is closed. */
export async function openServer(given: Config, log: Logger, mount?: Mount): Promise<Server> {
  const config = withAbsolutePaths(given);
  const projectDir = process.cwd();
  const handlersPath = resolve(config.handlersDir);
  await using opened = new AsyncDisposableStack();
  // In production only with a token.
  const hasInspector =
    (!mount || mount.hasInspector) && (config.mode === "dev" || config.inspector.token !== undefined);
  // Loading Elysia takes longer than opening everything else.
  const loadingPorts = loadPorts(hasInspector, mount);
  loadingPorts.catch(() => undefined);
  let { secrets } = config;

  // Opened first, because an outage at the start is reported too, and stopped before the inbox.
  const alerts = openAlerts(config, log);
  opened.defer(() => alerts.stop());

  let isSchemaChanged = false;
  // Its last spans end with the dispatcher and the storage.
  const traces = opened.use(await openTraces());
  const storage = opened.use(
    await openStorage(config, log, {
      signal: mount?.signal,
      onSchema: (step) => logSchema(log, config.handlersDir, step, { isStarting: !isSchemaChanged }),
      onUnavailable: async (reason) => {
        alerts.unavailable(reason);
        const { openWebhookServer, refuseAll } = await loadingPorts;
        return refuseAll({ ...config, secrets: () => secrets }, openWebhookServer);
      },
    }),
  );
  const { inbox, effects, cluster } = storage;
  alerts.watch(storage);
  opened.defer(() => alerts.stop());
  void reportLost({ inbox, effects, onLost: (count) => logLost(log, describeDatabase(config.database), count) });
  const folder = await openHandlers(config.handlersDir, (thrown) => {
    const { fields, text } = describeLateError(thrown, { dir: config.handlersDir, path: handlersPath });
    log.error(fields, text);
  });
  opened.defer(() => folder.close());
  const table = () => folder.table;
  const { dead } = table();
  if (dead?.error) logChange(log, config.handlersDir, { kind: "dead", is: "broken", goesOn: false, ...dead });
  const schema = applySchema();
  // Only SQLite's schema is awaited: an unavailable Postgres must not delay deliveries.
  if (config.database.kind === "sqlite") await schema;
  const presence = createPresence(cluster, table);

  const watchdog = createWatchdog(config);
  const clerk = createClerk(config);
  clerk.catch(() => undefined);
  let receiver: WebhookServer | undefined;
  const webhookUrl = () => localUrl(config, receiver?.port ?? config.port);
  const info = createServerInfo(config, projectDir, webhookUrl);
  // Stopped after the dispatcher, to save what was counted until the end.
  const monitor = opened.use(openMonitor(config, log, { inbox, cluster, notify: alerts.notify }));
  const live = createObserver({
    ...monitor,
    inbox,
    server: info.json,
    servers: presence.list,
    handlers: () => table().handlers,
    pauses: () => dispatcher.pauses,
    refused: () => receiver?.refused() ?? [],
    addresses: () => receiver?.addresses() ?? [],
    send: createSend({ webhookUrl, key: () => secrets[0] }),
    dryRun: async (name, delivery, body) => {
      const handler = table().get(name);
      const onLate = (message: string) => log.error(`not caught, in a dry run: ${message}`);
      return handler && (await tryHandler({ handler, delivery, body, effects, clerk: await clerk, watchdog, onLate }));
    },
    onError: inspectorFailed,
  });
  opened.defer(() => live.feed.stop());
  // Stopped after the dispatcher, because it may wait for a handler's transaction.
  const onDrift = (report: DriftReport) => notifyDrift(alerts.notify, report);
  const upkeep = startUpkeep({ config, log, inbox, effects, cluster, table, onDrift });
  opened.defer(() => upkeep.stop());
  const frame = createCodeFrames({
    projectDir,
    handlersDir: config.handlersDir,
    failsToLoad: (path) => failsToLoad(table(), path),
  });
  const reports = await createReports({ config, log, inbox, monitor, live, onChange: presence.changed });
  // Other servers know the handlers before runs are unparked here. Otherwise they might park them again.
  presence.publish(false);
  await cluster.alive();
  const dispatcher = await startDispatcher({
    inbox,
    effects,
    table,
    cluster,
    concurrency: config.concurrency,
    watchdog,
    clerk: await clerk,
    breaker: { after: config.breakerAfter },
    ...observePauses(log, alerts.notify),
    ...reports.runs,
    traces,
    frame,
  });
  opened.defer(() => dispatcher.stop(config.shutdownSeconds * 1_000));
  // Pages on this server show what others have done, too.
  presence.follow(dispatcher, () => live.feed.manyChanged(1));

  // `bun dev` watches the folder; `bun start` loads it once, and retries failed files.
  const onChanges = (changes: Change[]) => {
    for (const change of changes) logChange(log, config.handlersDir, change);
    if (changes.some(changesSchema)) {
      isSchemaChanged = true;
      void applySchema();
    }
    live.handlersChanged();
    presence.publish(true);
    // Runs have been parked or unparked.
    void dispatcher.tableChanged().then(() => live.feed.manyChanged(1));
    void countMissed(inbox, changes, (handler, missed) => logMissed(log, handler, missed));
  };
  if (config.mode === "dev") folder.watch(onChanges);
  else folder.retryFailed(onChanges);

  const { createUnverifiedBodies, openInspector, openSocket, openWebhookServer, startMetricsServer } =
    await loadingPorts;
  const api = {
    inbox,
    erasures: upkeep.erasures,
    handlers: () => withLoaded(table().handlers, cluster.loaded(table().loaded)),
    lost: () => findLost({ inbox, effects }),
    frame,
    live,
    onError: inspectorFailed,
  };
  const socket = openSocket(config.dataDir, api, (note) => log.warn(note));
  if (socket) opened.defer(() => socket.stop());

  const unverified = createUnverifiedBodies(config.maxBodyBytes);
  const webhookServer = openWebhookServer({
    ...config,
    unverified,
    secrets: () => secrets,
    accept: (delivery, runs) =>
      cluster.fenced ? Promise.reject(new InboxUnavailable(cluster.fenced)) : inbox.accept(delivery, runs),
    writable: () => inbox.writable && !cluster.fenced,
    healthDetails: () => healthOf(storage, log, alerts),
    match: presence.match,
    traces,
    ...reports.requests,
  });
  receiver = webhookServer;
  opened.defer(() => webhookServer.stop());
  // Opened after the public port, which takes precedence if both settings name the same port.
  const inspectorOptions = { ...config, unverified, projectDir, scrape: monitor.scrape };
  const inspector = openInspector?.(inspectorOptions, api, (note) => log.warn(note));
  if (inspector) opened.defer(() => inspector.stop());
  const metrics = startMetricsServer(config, monitor.scrape, inspectorFailed);
  if (metrics) opened.defer(() => metrics.stop());

  function inspectorFailed(error: unknown) {
    log.error({ err: error }, "a request to the inspector failed with an internal error");
  }

  async function applySchema() {
    const wanted = schemaOf(table());
    // `onSchema` logs errors. While the database is unavailable, the schema is applied later.
    if (wanted) await effects.applySchema(wanted).catch(() => undefined);
  }

  const everything = opened.move();
  let stopped: Promise<void> | undefined;
  return {
    port: webhookServer.port,
    table,
    receiver: webhookServer,
    inspectorUrl: inspector?.url,
    inspectorLink: inspector?.link,
    metricsPort: metrics?.port,
    useSecrets(fresh, shown) {
      secrets = fresh;
      if (shown) info.useSecret(shown);
    },
    usePublicUrl: info.usePublicUrl,
    stop: () => (stopped ??= everything.disposeAsync()),
  };
}

if (import.meta.main) await runCli(process.argv.slice(2), openServer);
