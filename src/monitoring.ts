// Connects a server with its alerts and its monitor: what they observe, and whom they notify.

import type { Cluster } from "./cluster/cluster.ts";
import type { Config } from "./config.ts";
import type { PauseChange } from "./dispatch/pauses.ts";
import { InboxUnavailable } from "./errors.ts";
import type { Inbox } from "./inbox/inbox.ts";
import { logAlertFailure, logHeartbeat, logPaused, logResumed, logSilence } from "./log.ts";
import { type Logger, logTrouble } from "./logger.ts";
import type { DriftReport } from "./mirror/drift-schedule.ts";
import { type Alerts, startAlerts } from "./monitor/alerts.ts";
import { type Monitor, startMonitor } from "./monitor/monitor.ts";
import type { Notify } from "./monitor/notices.ts";
import type { SilenceFacts } from "./monitor/silence.ts";
import { describeHealth, describeTrouble, type HealthDetails } from "./receive/health-details.ts";
import type { Storage } from "./storage.ts";

// Enough to know that there are some.
const MAX_PROBLEMS = 100;

export function openAlerts({ alerts }: Config, log: Logger): Alerts {
  return startAlerts({
    targets: alerts,
    describe: describeTrouble,
    logTrouble: () => logTrouble(log),
    onFailed: (target, error, retryMs) => logAlertFailure(log, target, error, retryMs),
    onBug: (error) => log.error({ err: error }, "alerts failed because of a bug in Bellhop"),
  });
}

/** Why parts of the server can't do their work now. */
export function healthOf({ inbox, effects, cluster }: Storage, log: Logger, { failing }: Alerts): HealthDetails {
  return describeHealth({
    inbox: inbox.trouble ?? cluster.fenced,
    database: effects.trouble,
    log: logTrouble(log),
    alerts: failing.length > 0,
  });
}

export function reportSilence(log: Logger, notify: Notify, isSilent: boolean, facts: SilenceFacts) {
  const { silentMs: quietMs, expected } = facts;
  logSilence(log, isSilent, facts);
  notify(isSilent ? { kind: "silence", quietMs, expected } : { kind: "silence over", quietMs });
}

export function openMonitor(
  { mode, silenceAfter, heartbeatUrl }: Config,
  log: Logger,
  { inbox, cluster, notify }: { inbox: Inbox; cluster: Cluster; notify: Notify },
): Monitor {
  return startMonitor({
    inbox,
    trouble: () => describeHealth({ inbox: inbox.trouble ?? cluster.fenced }).reason,
    isFirst: () => cluster.isFirst() && cluster.fenced === undefined,
    // In dev, deliveries are rare.
    silenceAfter: mode === "dev" && silenceAfter === "learned" ? "off" : silenceAfter,
    heartbeatUrl,
    async openProblems() {
      const problems = await inbox.problems.list("open", MAX_PROBLEMS);
      return problems.filter(({ runs }) => runs.dead > 0).length;
    },
    onSilence: (isSilent, facts) => reportSilence(log, notify, isSilent, facts),
    onHeartbeat: (reason) => logHeartbeat(log, reason),
    onError(error) {
      // The inbox reports its outages itself.
      if (!(error instanceof InboxUnavailable))
        log.error({ err: error }, "the monitor failed because of a bug in Bellhop");
    },
  });
}

/** A pause is logged on every server, and the one whose breaker made it notifies. A person who pauses a handler knows it. */
export function observePauses(log: Logger, notify: Notify) {
  const isNews = ({ isOwn, cause }: PauseChange) => isOwn && cause === "breaker";
  return {
    onPaused(change: PauseChange) {
      logPaused(log, change);
      const { handler, reason } = change;
      if (isNews(change)) notify({ kind: "paused", handler, reason: reason ?? "" });
    },
    onResumed(change: PauseChange) {
      logResumed(log, change);
      const { handler, pausedMs } = change;
      if (isNews(change)) notify({ kind: "resumed", handler, pausedMs });
    },
  };
}

/** Notifies of differences that a scheduled comparison with Clerk has found. */
export function notifyDrift(notify: Notify, { tables }: DriftReport): void {
  const different = tables.filter(({ differences }) => differences > 0);
  if (different.length === 0) return;
  notify({ kind: "drift", tables: different.map(({ name, differences }) => ({ table: name, rows: differences })) });
}
