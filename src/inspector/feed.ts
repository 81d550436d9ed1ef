// Tells everybody who looks what has changed: one producer for all of them, at most every 250 ms.
// It costs an entry in a ring for each change when nobody looks, and no query. Who does not read is not waited for:
// what was missed is told as a `summary`, and after a break what has changed since, so that no row stays as it was.

import type { DeliverySummary, Listed } from "../inbox/queries.ts";
import { createChanges } from "./changes.ts";
import type { FeedEvents } from "./types.ts";

export interface FeedOptions {
  /** One delivery by its id, or none. */
  find: (id: string) => Promise<Listed>;
  handlers: () => FeedEvents["handlers"];
  health: () => Promise<FeedEvents["health"]>;
  onError?: (error: unknown) => void;
  everyMs?: number;
  healthEveryMs?: number;
}

export interface Feed {
  /** A delivery is new, or a run of it has changed. */
  changed(id: string): void;
  /** So many runs have changed, of deliveries that nobody has told. */
  manyChanged(runs: number): void;
  handlersChanged(): void;
  /** A stream of server-sent events; undefined when too many are open. */
  connect(lastEventId: string | null): Response | undefined;
  readonly clients: number;
  /** Ends every stream; browsers come again, and go on from where they were. */
  drop(): void;
  stop(): void;
}

interface Client {
  send(bytes: Uint8Array): void;
  /** How far it has been told. */
  at: number;
  /** It comes back after a break, and may be told more at once. */
  back: boolean;
  /** It can take more. */
  ready: () => boolean;
  end(): void;
}

// Four a second look alive, and leave the rest of the time to deliveries.
const EVERY_MS = 250;
const HEALTH_EVERY_MS = 5_000;
/** More changes than that in one message are a summary: nobody reads them one by one. */
const MOST_IN_MESSAGE = 50;
const MOST_AFTER_BREAK = 200;
const MOST_CLIENTS = 64;
const RETRY_MS = 1_000;
/** What may wait in one stream for a client that is slow. */
const MOST_WAITING_BYTES = 65_536;

const encoder = new TextEncoder();

export function createFeed(options: FeedOptions): Feed {
  const { find, onError, everyMs = EVERY_MS, healthEveryMs = HEALTH_EVERY_MS } = options;
  const changes = createChanges();
  const clients = new Set<Client>();
  let timer: Timer | undefined;
  let health: Timer | undefined;
  let handlersDirty = false;
  let flushing = false;
  let stopped = false;

  function note(id: string | null) {
    changes.note(id);
    wake();
  }

  function wake(afterMs = everyMs) {
    if (clients.size > 0 && timer === undefined && !flushing) timer = setTimeout(() => void flush(), afterMs);
  }

  async function flush() {
    timer = undefined;
    flushing = true;
    try {
      await tell();
    } catch (error) {
      // Closed meanwhile, most likely; what was not told is told next time.
      if (!stopped) onError?.(error);
    }
    flushing = false;
    if (handlersDirty || [...clients].some((client) => client.at < changes.count && client.ready())) wake();
  }

  async function tell() {
    const until = changes.count;
    const table = handlersDirty ? message("handlers", options.handlers()) : undefined;
    handlersDirty = false;
    // Nearly all are at the same place, and get the same bytes.
    const made = new Map<number, Uint8Array>();
    for (const client of clients) {
      if (!client.ready()) continue;
      if (table) client.send(table);
      if (client.at >= until) continue;
      const from = client.at;
      const bytes = made.get(from) ?? (await since(from, until, client.back ? MOST_AFTER_BREAK : MOST_IN_MESSAGE));
      made.set(from, bytes);
      client.send(bytes);
      client.at = until;
      client.back = false;
    }
  }

  /** What has changed from one place to another, each row once as it is now. */
  async function since(from: number, until: number, most: number): Promise<Uint8Array> {
    const ids = changes.between(from, until);
    const id = changes.nameOf(until);
    if (!ids || ids.size > most) {
      const runs = Math.min(until - from, until);
      return message("summary", { deliveries: ids?.size ?? runs, runs }, id);
    }
    const found: DeliverySummary[] = [];
    for (const each of ids) found.push(...(await find(each)).deliveries);
    found.sort((a, b) => b.arrival - a.arrival);
    return message("deliveries", found, id);
  }

  async function tellHealth() {
    try {
      const bytes = message("health", await options.health());
      const table = message("handlers", options.handlers());
      for (const client of clients) if (client.ready()) client.send(Buffer.concat([bytes, table]));
    } catch (error) {
      if (!stopped) onError?.(error);
    }
  }

  function open(controller: ReadableStreamDefaultController<Uint8Array>, at: number): Client {
    const client: Client = {
      at,
      back: true,
      send: (bytes) => {
        if (clients.has(client)) controller.enqueue(bytes);
      },
      ready: () => (controller.desiredSize ?? 0) > 0,
      end() {
        if (!clients.delete(client)) return;
        if (clients.size === 0) {
          clearInterval(health);
          health = undefined;
        }
        try {
          controller.close();
        } catch {
          // It went away by itself.
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
    changed: note,
    manyChanged: (runs) => {
      if (runs > 0) note(null);
    },
    handlersChanged() {
      handlersDirty = clients.size > 0;
      wake();
    },
    connect(lastEventId) {
      if (stopped || clients.size >= MOST_CLIENTS) return undefined;
      const at = lastEventId ? changes.placeOf(lastEventId) : changes.count;
      let client: Client | undefined;
      const stream = new ReadableStream<Uint8Array>(
        {
          start(controller) {
            client = open(controller, at);
            client.send(encoder.encode(`retry: ${RETRY_MS}\n\n`));
            // What it has asked for before may be older than this stream.
            if (!lastEventId) client.send(message("summary", { deliveries: 0, runs: 0 }, changes.nameOf(at)));
          },
          // It has read what waited for it: what it missed meanwhile can be told.
          pull: () => wake(),
          cancel: () => client?.end(),
        },
        new ByteLengthQueuingStrategy({ highWaterMark: MOST_WAITING_BYTES }),
      );
      if (at < changes.count) wake(0);
      health ??= setInterval(() => void tellHealth(), healthEveryMs);
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
