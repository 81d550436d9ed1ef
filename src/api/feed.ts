// Streams changes to all open pages, at most every 250 ms. Without an open page, a change costs one entry in a ring buffer
// and no query. A slow page is not waited for: it gets a `summary` of what it missed, and after a reconnect the rows that
// have changed meanwhile, so that no row stays outdated.

import { createChanges } from "./changes.ts";
import type { FeedEvents, ListedDelivery, ListJson } from "./types.ts";

export interface FeedOptions {
  /** Finds one delivery by its id. */
  find: (id: string) => Promise<ListJson>;
  handlers: () => FeedEvents["handlers"];
  health: () => Promise<FeedEvents["health"]>;
  onError?: (error: unknown) => void;
  intervalMs?: number;
  healthIntervalMs?: number;
}

export interface Feed {
  /** A delivery is new, or a run of it has changed. */
  changed(id: string): void;
  /** Runs of unknown deliveries have changed. */
  manyChanged(runs: number): void;
  handlersChanged(): void;
  /** A stream of server-sent events; undefined when too many are open. */
  connect(lastEventId: string | null): Response | undefined;
  readonly clients: number;
  /** Ends every stream; browsers reconnect and continue where they were. */
  drop(): void;
  stop(): void;
}

interface Client {
  send(bytes: Uint8Array): void;
  /** The count of changes that it has received. */
  at: number;
  /** It has reconnected, and may receive more rows at once. */
  isReconnected: boolean;
  isReady: () => boolean;
  end(): void;
}

// Four updates a second look live, and cost deliveries little.
const INTERVAL_MS = 250;
const HEALTH_INTERVAL_MS = 5_000;
// A message of more rows becomes a summary, since a person can't follow them.
const MAX_ROWS = 50;
const MAX_ROWS_AFTER_RECONNECT = 200;
const MAX_CLIENTS = 64;
const RETRY_MS = 1_000;
const MAX_BUFFERED_BYTES = 65_536;

const encoder = new TextEncoder();

export function createFeed(options: FeedOptions): Feed {
  const { find, onError, intervalMs = INTERVAL_MS, healthIntervalMs = HEALTH_INTERVAL_MS } = options;
  const changes = createChanges();
  const clients = new Set<Client>();
  let timer: Timer | undefined;
  let health: Timer | undefined;
  let areHandlersOutdated = false;
  let isFlushing = false;
  let stopped = false;

  function addChange(id: string | null) {
    changes.add(id);
    wake();
  }

  function wake(afterMs = intervalMs) {
    if (clients.size > 0 && timer === undefined && !isFlushing) timer = setTimeout(() => void flush(), afterMs);
  }

  async function flush() {
    timer = undefined;
    isFlushing = true;
    try {
      await sendChanges();
    } catch (error) {
      // Most likely the inbox was closed. What was not sent is sent next time.
      if (!stopped) onError?.(error);
    }
    isFlushing = false;
    if (areHandlersOutdated || [...clients].some((client) => client.at < changes.count && client.isReady())) wake();
  }

  async function sendChanges() {
    const until = changes.count;
    const table = areHandlersOutdated ? message("handlers", options.handlers()) : undefined;
    areHandlersOutdated = false;
    // Most clients are at the same count, and get the same bytes.
    const messages = new Map<number, Uint8Array>();
    for (const client of clients) {
      if (!client.isReady()) continue;
      if (table) client.send(table);
      if (client.at >= until) continue;
      const from = client.at;
      const bytes =
        messages.get(from) ??
        (await changesMessage(from, until, client.isReconnected ? MAX_ROWS_AFTER_RECONNECT : MAX_ROWS));
      messages.set(from, bytes);
      client.send(bytes);
      client.at = until;
      client.isReconnected = false;
    }
  }

  /** The rows that changed between two counts, each once and in its current state. */
  async function changesMessage(from: number, until: number, maxRows: number): Promise<Uint8Array> {
    const ids = changes.between(from, until);
    const id = changes.eventId(until);
    if (!ids || ids.size > maxRows) {
      const runs = Math.min(until - from, until);
      return message("summary", { deliveries: ids?.size ?? runs, runs }, id);
    }
    const found: ListedDelivery[] = [];
    for (const changed of ids) found.push(...(await find(changed)).deliveries);
    found.sort((a, b) => b.arrival - a.arrival);
    return message("deliveries", found, id);
  }

  async function sendHealth() {
    try {
      const bytes = message("health", await options.health());
      const table = message("handlers", options.handlers());
      for (const client of clients) if (client.isReady()) client.send(Buffer.concat([bytes, table]));
    } catch (error) {
      if (!stopped) onError?.(error);
    }
  }

  function open(controller: ReadableStreamDefaultController<Uint8Array>, at: number): Client {
    const client: Client = {
      at,
      isReconnected: true,
      send: (bytes) => {
        if (clients.has(client)) controller.enqueue(bytes);
      },
      isReady: () => (controller.desiredSize ?? 0) > 0,
      end() {
        if (!clients.delete(client)) return;
        if (clients.size === 0) {
          clearInterval(health);
          health = undefined;
        }
        try {
          controller.close();
        } catch {
          // The client has closed the stream already.
        }
      },
    };
    clients.add(client);
    return client;
  }

  function drop() {
    for (const client of clients) client.end();
  }

  return {
    changed: addChange,
    manyChanged: (runs) => {
      if (runs > 0) addChange(null);
    },
    handlersChanged() {
      areHandlersOutdated = clients.size > 0;
      wake();
    },
    connect(lastEventId) {
      if (stopped || clients.size >= MAX_CLIENTS) return undefined;
      const at = lastEventId ? changes.countOf(lastEventId) : changes.count;
      let client: Client | undefined;
      const stream = new ReadableStream<Uint8Array>(
        {
          start(controller) {
            client = open(controller, at);
            client.send(encoder.encode(`retry: ${RETRY_MS}\n\n`));
            // The list that the page has loaded may be older than this stream.
            if (!lastEventId) client.send(message("summary", { deliveries: 0, runs: 0 }, changes.eventId(at)));
          },
          // The client has read its buffer, and can receive what it missed.
          pull: () => wake(),
          cancel: () => client?.end(),
        },
        new ByteLengthQueuingStrategy({ highWaterMark: MAX_BUFFERED_BYTES }),
      );
      if (at < changes.count) wake(0);
      health ??= setInterval(() => void sendHealth(), healthIntervalMs);
      return new Response(stream, {
        headers: { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" },
      });
    },
    get clients() {
      return clients.size;
    },
    drop,
    stop() {
      stopped = true;
      drop();
      clearTimeout(timer);
      clearInterval(health);
    },
  };
}

function message<Name extends keyof FeedEvents>(name: Name, data: FeedEvents[Name], id?: string): Uint8Array {
  return encoder.encode(`event: ${name}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
}
