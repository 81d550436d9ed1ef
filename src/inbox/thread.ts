// An inbox on a thread of its own: whoever waits for a 200 waits for the disk, and nobody else does. It promises what the
// inbox on the other side promises, and adds nothing but the way there and back.

import { AsyncLocalStorage } from "node:async_hooks";

import { InboxUnavailable, UserError } from "../errors.ts";
import type { Inbox } from "./inbox.ts";
import {
  type Answer,
  type Call,
  type Calls,
  type Failure,
  type Method,
  pack,
  type Told,
  unpackAccepted,
} from "./wire.ts";

/** What the thread is told: first to open the inbox, and then what is asked of it. */
export type Asked = { open: OpenOptions } | Calls;

export interface OpenOptions {
  dataDir: string;
  maxPages?: number | undefined;
}

interface ThreadOptions {
  onTrouble?: (reason?: unknown) => void;
  /** For tests of a full disk: the most pages that the file may have. */
  maxPages?: number;
}

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

// While so many are on their way the next ones come in: the thread begins with these. All of a turn at once would make
// the two wait for each other.
const MOST_IN_MESSAGE = 32;

// A handler may be what asks: what is scheduled in its context would end with its version.
const asHost = AsyncLocalStorage.snapshot();

/** Opens the SQLite inbox of a data folder on a thread of its own. Rejects as `openSqliteInbox` does. */
export async function openInboxThread(dataDir: string, { onTrouble, maxPages }: ThreadOptions = {}): Promise<Inbox> {
  const worker = new Worker(new URL("./thread.worker.ts", import.meta.url).href);
  const waiting = new Map<number, Waiting>();
  let calls: Call[] = [];
  let last = 0;
  let wake = () => {};
  let writable = true;
  let ended = false;

  function wait<T>(id: number): Promise<T> {
    return new Promise<T>((resolve, reject) => waiting.set(id, { resolve, reject }));
  }

  function ask<T>(method: Method, ...words: unknown[]): Promise<T> {
    if (ended) return Promise.reject(new InboxUnavailable(new Error("the inbox is closed")));
    last += 1;
    calls.push([last, method, words]);
    if (calls.length === MOST_IN_MESSAGE) send();
    // After the sockets were read.
    else if (calls.length === 1) asHost(() => setImmediate(send));
    return wait(last);
  }

  function send() {
    if (calls.length === 0) return;
    const packed = pack(calls);
    calls = [];
    worker.postMessage(packed, [packed.bytes.buffer]);
  }

  function settle(id: number): Waiting | undefined {
    const found = waiting.get(id);
    waiting.delete(id);
    return found;
  }

  worker.addEventListener("message", ({ data: told }: MessageEvent<Told>) => {
    if (told.trouble !== undefined) {
      writable = told.trouble === null;
      onTrouble?.(told.trouble ?? undefined);
    }
    // Before the answers, so that whoever rests when all have ended knows of what comes next.
    if (told.work) wake();
    for (const [id, value] of JSON.parse(told.text) as Answer[]) settle(id)?.resolve(value as never);
    for (const [id, value] of told.others) settle(id)?.resolve(value as never);
    for (const [id, failure] of told.failures) settle(id)?.reject(errorOf(failure));
  });
  // A mistake of ours: what was accepted is on the disk, and the next start goes on from there.
  worker.addEventListener("error", ({ message }) => {
    throw new Error(`the inbox's thread has ended: ${message}`);
  });

  const opened = wait<void>(0);
  worker.postMessage({ open: { dataDir, maxPages } } satisfies Asked);
  try {
    await opened;
  } catch (error) {
    worker.terminate();
    throw error;
  }

  let closed: Promise<void> | undefined;
  async function close() {
    const over = ask<void>("close");
    ended = true;
    await over;
    worker.terminate();
  }
  const closeOnce = () => (closed ??= close());

  return {
    accept: async (delivery, ...words) => unpackAccepted(await ask("accept", delivery, ...words), delivery),
    claim: (...words) => ask("claim", ...words),
    settle: ({ run, attempt }, outcome) => ask("settle", { run, attempt }, outcome),
    note: ({ run, attempt }, line) => ask("note", { run, attempt }, line),
    orphans: (...words) => ask("orphans", ...words),
    reconcile: (...words) => ask("reconcile", ...words),
    park: (...words) => ask("park", ...words),
    replay: (...words) => ask("replay", ...words),
    missing: (...words) => ask("missing", ...words),
    addMissing: (...words) => ask("addMissing", ...words),
    replayable: (...words) => ask("replayable", ...words),
    addReplays: (...words) => ask("addReplays", ...words),
    states: (...words) => ask("states", ...words),
    retryNow: (...words) => ask("retryNow", ...words),
    giveUp: (...words) => ask("giveUp", ...words),
    sweep: () => ask("sweep"),
    get: (...words) => ask("get", ...words),
    list: (...words) => ask("list", ...words),
    looked: (...words) => ask("looked", ...words),
    prunable: (...words) => ask("prunable", ...words),
    prune: (...words) => ask("prune", ...words),
    get writable() {
      return writable;
    },
    onWork(listener) {
      wake = listener;
    },
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  };
}

function errorOf({ is, message }: Failure): Error {
  if (is === "InboxUnavailable") return new InboxUnavailable(new Error(message));
  return is === "UserError" ? new UserError(message) : new Error(message);
}
