// Observes a running server for the inspector: shows what the metrics have counted, and reports changes to the feed.

import type { Pauses } from "../dispatch/pauses.ts";
import { type RefusalCode, refusals } from "../errors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { History } from "../monitor/history.ts";
import type { ReadFigures } from "../monitor/inbox-figures.ts";
import type { Metrics } from "../monitor/metrics.ts";
import { createFeed } from "./feed.ts";
import { withWho } from "./listed.ts";
import type { Live } from "./routes/live.ts";
import type { ApiHandler } from "./routes/selection.ts";
import type { Send } from "./send-sample.ts";
import type { ChartWindow, HealthJson, RefusedJson, ServerJson, ServerRowJson } from "./server-types.ts";
import type { HandlerJson, HandlerRunCounts } from "./types.ts";

export interface ObserverOptions {
  inbox: Pick<Inbox, "list" | "contents" | "writable">;
  metrics: Pick<Metrics, "handler">;
  history: Pick<History, "chart">;
  /** Reads how many runs are not done. */
  figures: ReadFigures;
  server: () => ServerJson;
  servers: () => ServerRowJson[];
  /** The current handlers. */
  handlers: () => readonly LoadedHandler[];
  pauses: () => Pauses;
  /** The latest refused requests, oldest first. */
  refused: () => readonly RefusedJson["latest"][number][];
  /** The addresses with the most of them. */
  addresses: () => NonNullable<RefusedJson["addresses"]>;
  send: Send;
  dryRun: Live["dryRun"];
  onError: (error: unknown) => void;
}

export interface LoadedHandler extends ApiHandler, Pick<HandlerJson, "file" | "options"> {
  error?: { where: string; message: string; source?: string };
  warning?: string;
}

/** The server calls these as things happen. Each call costs an entry in a ring buffer. */
export interface Observer extends Live {
  /** A delivery is new, or a run of it has changed. */
  changed(id: string): void;
}

const MAX_REFUSED_SHOWN = 200;

export function createObserver(options: ObserverOptions): Observer {
  const { inbox, metrics, history, figures, handlers, send, onError } = options;
  let backlog: Awaited<ReturnType<ReadFigures>>["counts"] = [];
  const feed = createFeed({
    find: async (id) => withWho(inbox, await inbox.list({ id }, { before: null, limit: 1 })),
    handlers: handlersJson,
    health,
    onError,
  });

  function handlersJson(): HandlerJson[] {
    const paused = new Map(
      options
        .pauses()
        .list()
        .map(({ handler, ...pause }) => [handler, pause]),
    );
    return handlers().map(
      ({ name, file, event, lane, options: { attempts, timeout, stale }, code, error, warning }) => ({
        name,
        file,
        event,
        lane,
        options: {
          ...(attempts !== undefined && { attempts }),
          ...(timeout !== undefined && { timeout }),
          ...(stale !== undefined && { stale }),
        },
        error: error ? { ...error, source: error.source ?? null } : null,
        lastGoodRuns: error !== undefined && code !== undefined,
        warning: warning ?? null,
        paused: paused.get(name) ?? null,
        ...metrics.handler(name),
        ...countsOf(name),
      }),
    );
  }

  function countsOf(name: string): HandlerRunCounts {
    const counts = { dead: 0, waiting: 0, retrying: 0 };
    for (const { handler, state, count } of backlog) {
      if (handler !== name || state === "running") continue;
      counts[state === "parked" ? "waiting" : state] += count;
    }
    return counts;
  }

  async function health(window: ChartWindow = "1h"): Promise<HealthJson> {
    const [chart, { counts, oldestWaitingMs, newest }] = await Promise.all([history.chart(window), figures()]);
    backlog = counts;
    const runs = { waiting: 0, retrying: 0, running: 0, parked: 0, dead: 0 };
    for (const { state, count } of counts) runs[state] += count;
    // Runs that are waiting now belong to the last step.
    const queueAge = [...chart.queueAge.slice(0, -1), Math.max(chart.queueAge.at(-1) ?? 0, oldestWaitingMs)];
    return { ...chart, queueAge, runs, lastDelivery: newest?.receivedAt ?? null, writable: inbox.writable };
  }

  return {
    changed: (id) => feed.changed(id),
    handlersChanged: () => feed.handlersChanged(),
    server: options.server,
    servers: options.servers,
    handlers: handlersJson,
    get pauses() {
      return options.pauses();
    },
    health,
    refused: () => ({ ...refusedJson(options.refused()), addresses: options.addresses() }),
    feed,
    send,
    dryRun: options.dryRun,
  };
}

function refusedJson(recent: readonly RefusedJson["latest"][number][]): RefusedJson {
  const counts: RefusedJson["counts"] = {};
  for (const { code } of recent) counts[code] = (counts[code] ?? 0) + 1;
  const latest = recent
    .slice(-MAX_REFUSED_SHOWN)
    .toReversed()
    .map((request) => {
      // The addresses are counted apart.
      const { address: _, ...shown } = request as typeof request & { address?: string };
      return shown;
    });
  const explanations: RefusedJson["explanations"] = {};
  for (const code of Object.keys(counts) as RefusalCode[])
    explanations[code] = { message: refusals[code].message, remedy: refusals[code].remedy };
  return { counts, latest, explanations };
}
