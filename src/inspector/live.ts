// Watches a running server for those who look at it: counts what comes and ends, and tells the feed what has changed.

import { type RefusalCode, refusals } from "../errors.ts";
import type { Inbox, Outcome, Ticket } from "../inbox/inbox.ts";
import { createFeed } from "./feed.ts";
import { createMetrics } from "./metrics.ts";
import { queueAge } from "./queue.ts";
import type { Live } from "./routes/live.ts";
import type { SendSample } from "./send.ts";
import type { HandlerJson, HealthJson, RefusedJson, ServerJson } from "./types.ts";

export interface LiveOptions {
  inbox: Pick<Inbox, "list" | "writable">;
  server: () => ServerJson;
  /** The handlers as they are now. */
  handlers: () => readonly LoadedHandler[];
  /** What was refused lately, oldest first. */
  refused: () => readonly RefusedJson["latest"][number][];
  send: SendSample;
  onError: (error: unknown) => void;
  now?: () => number;
}

/** What is shown of a handler. */
export interface LoadedHandler extends Pick<HandlerJson, "name" | "file" | "event" | "lane"> {
  options: HandlerJson["options"];
  code?: unknown;
  error?: { where: string; message: string; source?: string };
  warning?: string;
}

/** What a server tells of itself as it goes. Each call is a few counts in memory. */
export interface Watched extends Live {
  delivered(id: string, status: "accepted" | "duplicate"): void;
  ended(ticket: Ticket, outcome: Outcome): void;
  tableChanged(): void;
}

const LATEST_REFUSED = 200;

export function createLive(options: LiveOptions): Watched {
  const { inbox, handlers, send, onError, now = Date.now } = options;
  const metrics = createMetrics();
  const feed = createFeed({
    find: (id) => inbox.list({ id }, { before: null, limit: 1 }),
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
        goesOn: error !== undefined && code !== undefined,
        warning: warning ?? null,
        ...metrics.handler(name),
      }),
    );
  }

  async function health(): Promise<HealthJson> {
    metrics.queue(await queueAge(inbox, now()), now());
    return { ...metrics.hour(now()), writable: inbox.writable };
  }

  return {
    delivered(id, status) {
      if (status === "accepted") metrics.delivery(now());
      feed.changed(id);
    },
    ended(ticket, outcome) {
      feed.changed(ticket.delivery.id);
      if (outcome.kind === "interrupted" || outcome.kind === "released") return;
      const { kind, record } = outcome;
      // A database that is away is nobody's failure, and what is skipped did not run.
      if (kind === "postponed" || kind === "skipped") return;
      const failed = kind !== "done";
      metrics.ended(
        {
          handler: ticket.handler,
          delivery: ticket.delivery.id,
          receivedAt: ticket.delivery.receivedAt,
          replay: ticket.replay !== "",
          first: ticket.attempt === 1,
          over: kind !== "retry",
          failed,
          startedAt: record.startedAt,
          took: record.took,
          ...(record.error && { message: record.error.message }),
        },
        now(),
      );
    },
    tableChanged: () => feed.handlersChanged(),
    server: options.server,
    handlers: handlersJson,
    health,
    refused: () => refusedJson(options.refused()),
    feed,
    send,
  };
}

function refusedJson(recent: readonly RefusedJson["latest"][number][]): RefusedJson {
  const counts: RefusedJson["counts"] = {};
  for (const { code } of recent) counts[code] = (counts[code] ?? 0) + 1;
  const latest = recent
    .slice(-LATEST_REFUSED)
    .toReversed()
    .map(({ code, at, size, claimedId }) => ({ code, at, size, claimedId }));
  const says = (code: RefusalCode) => [code, { says: refusals[code].says, remedy: refusals[code].remedy }];
  const codes = Object.keys(counts) as RefusalCode[];
  return { counts, latest, says: Object.fromEntries(codes.map(says)) as RefusedJson["says"] };
}
