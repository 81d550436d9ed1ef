// The membership of this server in the cluster of one Postgres inbox, kept by a thread.

import { settledWithin } from "../deadline.ts";
import type { PostgresUrl } from "../store/postgres.ts";
import type { OtherServer, ServerAbout } from "./servers.ts";

/** Messages to the thread. */
export interface ToMembership {
  /** Starts the thread. */
  address?: PostgresUrl;
  /** A `ServerAbout` in JSON. */
  about?: string;
  /** Requests a look at the rows now. */
  look?: number;
  stop?: boolean;
}

/** Messages from the thread. */
export type FromMembership =
  | { kind: "servers"; id: string; wasFenced: boolean; others: readonly { id: string; age: number; about: string }[] }
  | { kind: "looked"; look: number; isKnown: boolean }
  | { kind: "fenced"; reason: string }
  | { kind: "stopped" };

export interface MembershipEvents {
  /** The other living servers were looked up. `id` is this server's, and new when another one had declared it dead. */
  onServers(id: string, others: readonly OtherServer[], wasFenced: boolean): void;
  /** Other servers may take over this server's runs soon: it has to stop its attempts and to refuse deliveries. */
  onFenced(reason: string): void;
}

export interface Membership {
  /** Resolves when this server has its row. */
  ready: Promise<void>;
  publish(about: ServerAbout): void;
  /** Reads the rows now. Resolves to false when Postgres did not answer. */
  look(): Promise<boolean>;
  /** Deletes the row, so that the others know at once. */
  stop(): Promise<void>;
}

// Deleting the row takes one statement.
const STOP_MS = 2_000;
const RESTART_MS = 1_000;

export function openMembership(address: PostgresUrl, events: MembershipEvents): Membership {
  const ready = Promise.withResolvers<void>();
  const stopped = Promise.withResolvers<void>();
  const looks = new Map<number, (isKnown: boolean) => void>();
  const parsed = new Map<string, ServerAbout>();
  let latestAbout = "{}";
  let lookCount = 0;
  let isStopping = false;
  let worker = start();

  function start(): Worker {
    const thread = new Worker(new URL("./membership.worker.ts", import.meta.url));
    thread.addEventListener("message", ({ data }: MessageEvent<FromMembership>) => onMessage(data));
    thread.addEventListener("error", (event) => {
      event.preventDefault();
      restart(thread);
    });
    thread.postMessage({ address, about: latestAbout } satisfies ToMembership);
    thread.unref();
    return thread;
  }

  /** A thread that fails has renewed nothing since. The next one registers this server under a new id. */
  function restart(failed: Worker) {
    if (failed !== worker || isStopping) return;
    failed.terminate();
    events.onFenced("the thread that keeps this server's row has failed");
    for (const answer of looks.values()) answer(false);
    looks.clear();
    setTimeout(() => {
      if (!isStopping) worker = start();
    }, RESTART_MS).unref();
  }

  function onMessage(message: FromMembership) {
    if (message.kind === "stopped") stopped.resolve();
    if (message.kind === "fenced") events.onFenced(message.reason);
    if (message.kind === "looked") {
      looks.get(message.look)?.(message.isKnown);
      looks.delete(message.look);
    }
    if (message.kind === "servers") {
      const others = message.others.map(({ id, age, about }) => ({ id, age, about: parse(about) }));
      for (const text of parsed.keys()) if (!message.others.some(({ about }) => about === text)) parsed.delete(text);
      events.onServers(message.id, others, message.wasFenced);
      ready.resolve();
    }
  }

  /** The same text gives the same object. */
  function parse(text: string): ServerAbout {
    const known = parsed.get(text) ?? (JSON.parse(text) as ServerAbout);
    parsed.set(text, known);
    return known;
  }

  return {
    ready: ready.promise,
    publish(about) {
      latestAbout = JSON.stringify(about);
      worker.postMessage({ about: latestAbout } satisfies ToMembership);
    },
    look() {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      lookCount += 1;
      looks.set(lookCount, resolve);
      worker.postMessage({ look: lookCount } satisfies ToMembership);
      return promise;
    },
    async stop() {
      isStopping = true;
      worker.postMessage({ stop: true } satisfies ToMembership);
      await settledWithin(stopped.promise, STOP_MS);
      for (const answer of looks.values()) answer(false);
      worker.terminate();
    },
  };
}
