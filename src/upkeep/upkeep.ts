// The work of a server beside deliveries and runs: deletion of expired data, erasures of users, comparisons of the mirror
// with Clerk, and reports of runs whose handler is gone.

import type { Get } from "../clerk/requests.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Config } from "../config.ts";
import type { Effects } from "../db/effects.ts";
import { messageOf } from "../errors.ts";
import type { HandlerTable } from "../handlers/loader.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { logDrift, logErased, logParked } from "../log.ts";
import type { Logger } from "../logger.ts";
import { type DriftReport, startDriftSchedule } from "../mirror/drift-schedule.ts";
import { addressesIn, eraseRows } from "../mirror/erase-rows.ts";
import { tablesOf } from "../mirror/mirror.ts";
import type { MirrorTable } from "../mirror/write.ts";
import { type Erasures, startErasures } from "./erasures.ts";
import { startParkedReports } from "./missing-handlers.ts";
import { startRetention } from "./retention.ts";

interface UpkeepOptions {
  config: Pick<Config, "retentionDays" | "eraseAfter" | "driftEvery" | "clerkSecretKey" | "clerkApiUrl">;
  log: Logger;
  inbox: Inbox;
  effects: Effects;
  cluster: Cluster;
  table: () => HandlerTable;
  /** Called with the result of each scheduled comparison. */
  onDrift?: (report: DriftReport) => void;
}

export interface Upkeep {
  erasures: Erasures;
  stop(): Promise<void>;
}

export function startUpkeep({ config, log, inbox, effects, cluster, table, onDrift }: UpkeepOptions): Upkeep {
  /** The mirror's tables are those of the current handlers. */
  const tables = (): MirrorTable[] => table().handlers.flatMap(({ code }) => (code && tablesOf(code.run)) ?? []);
  const isOurs = () => cluster.isFirst();
  const retention = startRetention({
    inbox,
    effects,
    retentionDays: config.retentionDays,
    isOurs,
    onTrouble: (error) =>
      log.warn({ err: error }, "data older than RETENTION_DAYS could not be deleted; the next round retries"),
  });
  const erasures = startErasures({
    inbox,
    effects,
    addressesOf: (user) => addressesIn(effects.sql, tables(), user),
    eraseRows: (user, addresses) => effects.write((tx) => eraseRows(tx, tables(), user, addresses)),
    afterMs: config.eraseAfter === "never" ? undefined : config.eraseAfter,
    isOurs,
    onFinished: (erasure) => logErased(log, erasure),
    onTrouble: (error) => log.warn({ err: error }, "an erasure could not be finished; the next round continues it"),
  });
  const parked = startParkedReports({
    inbox,
    knows: (handler) => table().get(handler) !== undefined,
    isOurs,
    onParked: (count) => logParked(log, count),
    onTrouble: (error) =>
      log.warn({ err: error }, "runs without a handler could not be counted; the next round retries"),
  });
  const { driftEvery, clerkSecretKey: secretKey, clerkApiUrl: apiUrl } = config;
  const schedule =
    secretKey && driftEvery !== "never"
      ? startDriftSchedule({
          everyMs: driftEvery,
          get: lazyGet({ secretKey, apiUrl }),
          effects,
          tables,
          isOurs,
          onReport(report) {
            logDrift(log, report);
            onDrift?.(report);
          },
          onTrouble: (error) => log.warn(`the mirror was not compared with Clerk: ${messageOf(error)}`),
        })
      : undefined;
  return {
    erasures,
    stop: async () => void (await Promise.all([retention.stop(), erasures.stop(), parked.stop(), schedule?.stop()])),
  };
}

/** Loads Clerk's errors at the first request: they take a while, and most servers never need them. */
function lazyGet(options: { secretKey: string; apiUrl: string }): Get {
  let get: Promise<Get> | undefined;
  return async (path, query) => {
    get ??= import("../clerk/requests.ts").then(({ createRequests }) => createRequests(options));
    return (await get)(path, query);
  };
}
