// Observes a running server for the inspector: counts deliveries and attempts, and reports changes to the feed.

import { type RefusalCode, refusals } from "../errors.ts";
import type { ClaimedRun, Inbox, Outcome } from "../inbox/inbox.ts";
import { createFeed } from "./feed.ts";
import { withWho } from "./listed.ts";
import { createMetrics } from "./metrics.ts";
import { queueAge } from "./queue.ts";
import type { Live } from "./routes/live.ts";
import type { ApiHandler } from "./routes/selection.ts";
import { createRunCounts, type RunCounts } from "./run-counts.ts";
import type { Send } from "./send-sample.ts";
import type { HandlerJson, HealthJson, RefusedJson, ServerJson, ServerRowJson } from "./types.ts";

export interface ObserverOptions {
  inbox: Pick<Inbox, "list" | "contents" | "writable">;
  server: () => ServerJson;
  servers?: () => ServerRowJson[];
  /** The current handlers. */
  handlers: () => readonly LoadedHandler[];
  /** The latest refused requests, oldest first. */
  refused: () => readonly RefusedJson["latest"][number][];
  send: Send;
  dryRun: Live["dryRun"];
  onError: (error: unknown) => void;
  now?: () => number;
}

export interface LoadedHandler extends ApiHandler, Pick<HandlerJson, "file" | "options"> {
  error?: { where: string; message: string; source?: string };
  warning?: string;
}

/** The server calls these as things happen. Each call updates a few counts in memory. */
export interface Observer extends Live {
  delivered(id: string, status: "accepted" | "duplicate"): void;
  ended(run: ClaimedRun, outcome: Outcome): void;
  handlersChanged(): void;
}

const MAX_REFUSED_SHOWN = 200;

export function createObserver(options: ObserverOptions): Observer {
  const { inbox, handlers, send, onError, now = Date.now } = options;
  const metrics = createMetrics();
  const count = createRunCounts(inbox);
  let runCounts: RunCounts | undefined;
  const feed = createFeed({
    find: async (id) => withWho(inbox, await inbox.list({ id }, { before: null, limit: 1 })),
    handlers: handlersJson,
    health,
    onError,
  });

  function handlersJson(): HandlerJson[] {
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
        ...metrics.handler(name),
        ...(runCounts?.handler(name) ?? { dead: 0, waiting: 0, retrying: 0 }),
      }),
    );
  }

  async function health(): Promise<HealthJson> {
    metrics.queue(await queueAge(inbox, now()), now());
    runCounts = await count();
    return {
      ...metrics.hour(now()),
      writable: inbox.writable,
      runs: runCounts.runs,
      lastDelivery: runCounts.lastDelivery,
    };
  }

  return {
    delivered(id, status) {
      if (status === "accepted") metrics.delivery(now());
      feed.changed(id);
    },
    ended({ handler, attempt, replay, delivery }, outcome) {
      feed.changed(delivery.id);
      if (outcome.kind === "interrupted" || outcome.kind === "released") return;
      const { kind, record } = outcome;
      // An unreachable database is not the handler's failure, and a skipped run did not run.
      if (kind === "postponed" || kind === "skipped") return;
      const failed = kind !== "done";
      metrics.ended(
        {
          handler,
          delivery: delivery.id,
          receivedAt: delivery.receivedAt,
          isReplay: replay !== "",
          isFirst: attempt === 1,
          isLast: kind !== "retry",
          failed,
          startedAt: record.startedAt,
          took: record.took,
          ...(record.error && { message: record.error.message }),
        },
        now(),
      );
    },
    handlersChanged: () => feed.handlersChanged(),
    server: options.server,
    servers: options.servers ?? (() => []),
    handlers: handlersJson,
    health,
    refused: () => refusedJson(options.refused()),
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
    .map((refused) => ({ ...refused }));
  const explanations: RefusedJson["explanations"] = {};
  for (const code of Object.keys(counts) as RefusalCode[])
    explanations[code] = { message: refusals[code].message, remedy: refusals[code].remedy };
  return { counts, latest, explanations };
}
