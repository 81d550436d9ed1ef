// Reports what happens to deliveries, runs and requests: to the log, the metrics, the inspector and the other servers.

import type { Observer } from "./api/observer.ts";
import type { Config } from "./config.ts";
import type { DispatcherOptions } from "./dispatch/dispatcher-options.ts";
import { createEventLines, createRecords } from "./event-lines.ts";
import type { Inbox } from "./inbox/inbox.ts";
import { logDeadError, logHandlerLine, logRefused } from "./log.ts";
import type { Logger } from "./logger.ts";
import type { Monitor } from "./monitor/monitor.ts";
import type { WebhookServerOptions } from "./receive/server.ts";

interface ReportsOptions {
  config: Pick<Config, "mode" | "handlersDir" | "logFormat">;
  log: Logger;
  inbox: Pick<Inbox, "note">;
  monitor: Pick<Monitor, "metrics" | "delivered">;
  live: Pick<Observer, "changed">;
  /** A delivery was stored, or an attempt has ended. */
  onChange: () => void;
}

/** Returns what the dispatcher calls (`runs`), and what the public port calls (`requests`). */
export async function createReports({ config, log, inbox, monitor, live, onChange }: ReportsOptions) {
  const lines = config.logFormat === "pretty" ? createEventLines(log) : createRecords(log);
  const checkShape = config.mode === "dev" ? await watchShapes(log) : undefined;
  const runs = {
    onOutcome(run, outcome) {
      onChange();
      lines.ended(run, outcome);
      monitor.metrics.ended(run, outcome);
      live.changed(run.delivery.id);
    },
    onLate(run, message) {
      const line = { level: "error" as const, message: `not caught, after the run had ended: ${message}` };
      inbox.note(run, line).catch(() => undefined);
    },
    onLog: (run, line, ids) => logHandlerLine(log, run, line, ids),
    onDeadError: (error, retryMs) => logDeadError(log, config.handlersDir, error, retryMs),
    onTrouble: (error) =>
      log.error(
        { err: error },
        "a run could not be claimed, or its end not recorded, because of a bug in Bellhop; retrying",
      ),
  } satisfies Partial<DispatcherOptions>;
  const requests = {
    onDelivery(delivery) {
      onChange();
      lines.delivered(delivery);
      monitor.delivered(delivery.event.type, delivery.status);
      live.changed(delivery.delivery.id);
      checkShape?.(delivery.event.type, delivery.event.data);
    },
    onRefused(refused, count) {
      monitor.metrics.refused(refused.code, count);
      logRefused(log, refused, count);
    },
    onAnswered: (request) => monitor.metrics.answered(request),
    onError: (error) => log.error({ err: error }, "a request failed with an internal error"),
  } satisfies Partial<WebhookServerOptions>;
  return { runs, requests };
}

/** Clerk's real payloads differ from its documentation. In dev, each difference is logged once per type and path. */
async function watchShapes(log: Logger) {
  const { createPayloadCheck } = await import("./clerk/check.ts");
  return createPayloadCheck((line) => log.info(line));
}
