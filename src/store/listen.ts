// Notifies the servers of one Postgres inbox of work, by LISTEN and NOTIFY. A message may be lost at any time, so
// servers poll as well. NOTIFY must stay outside of transactions, where it would serialize all commits.

import { setTimeout as sleep } from "node:timers/promises";

import type { SQL } from "bun";

export const CHANNEL = "bellhop_inbox";
/** The prefix of a message that a server sends only to itself. */
const CHECK = "check ";

interface NotificationOptions {
  /** Opens a client for LISTEN. Undefined behind a pooler, where LISTEN succeeds and receives nothing. */
  connect: ((onClose: () => void) => SQL) | undefined;
  /** Sends a message on the channel; rejects in bounded time when Postgres does not answer. */
  notify: (message: string) => Promise<unknown>;
  /** The least interval between two NOTIFYs. */
  announceMs?: number;
  /** How often this server checks that it receives its own message, and how long a message may take. */
  checkMs?: number;
  answerMs?: number;
  /** The polling intervals while messages do not arrive, and while they do. */
  pollMs?: number;
  listeningPollMs?: number;
}

export interface Notifications {
  /** Wakes the other servers, not this one. */
  announce(): void;
  onAnnounced(wake: () => void): void;
  close(): Promise<void>;
}

export function openNotifications(options: NotificationOptions): Notifications {
  const { connect, notify, announceMs = 20, checkMs = 5_000, answerMs = 5_000 } = options;
  const { pollMs = 1_000, listeningPollMs = 5_000 } = options;
  const server = crypto.randomUUID();
  const check = CHECK + server;
  const closing = new AbortController();
  let wake = () => {};
  let announcing: Timer | undefined;
  let receives = false;
  let polledAt = performance.now();
  let onCheck = () => {};

  // A timer may fire early, so half a period of tolerance.
  const poll = setInterval(() => {
    const now = performance.now();
    if (receives && now - polledAt < listeningPollMs - pollMs / 2) return;
    polledAt = now;
    wake();
  }, pollMs).unref();

  const pause = (ms: number, signal = closing.signal) => sleep(ms, undefined, { signal, ref: false });

  function onMessage(message: string) {
    if (message === check) onCheck();
    else if (message !== server && !message.startsWith(CHECK)) wake();
  }

  async function receivesCheck(signal: AbortSignal): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<true>();
    onCheck = () => resolve(true);
    notify(check).catch(() => undefined);
    return Promise.race([promise, pause(answerMs, signal).then(() => false)]);
  }

  /** A half-open connection never notices that it receives nothing, so it is replaced when a message does not arrive. */
  async function listen(open: (onClose: () => void) => SQL) {
    while (!closing.signal.aborted) {
      const lost = new AbortController();
      const signal = AbortSignal.any([closing.signal, lost.signal]);
      // Bun would reconnect by itself, and print a line for each attempt that fails.
      const client = open(() => lost.abort());
      try {
        await Promise.race([client.listen(CHANNEL, onMessage), pause(answerMs, signal)]);
        while (await receivesCheck(signal)) {
          // Earlier messages are lost.
          if (!receives) wake();
          receives = true;
          await pause(checkMs, signal);
        }
      } catch {
        // Not connected, or closing.
      }
      receives = false;
      await client.close({ timeout: 0 }).catch(() => undefined);
      await pause(pollMs).catch(() => undefined);
    }
  }

  const listening = connect && listen(connect);

  return {
    announce() {
      announcing ??= setTimeout(() => {
        announcing = undefined;
        notify(server).catch(() => undefined);
      }, announceMs);
    },
    onAnnounced(listener) {
      wake = listener;
    },
    async close() {
      clearInterval(poll);
      clearTimeout(announcing);
      // A command has added runs and ends now.
      if (announcing) await notify(server).catch(() => undefined);
      closing.abort();
      await listening;
    },
  };
}
