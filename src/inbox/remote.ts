// An inbox from afar: one side asks, the other one has the inbox. What is asked for in one turn crosses in few messages,
// and so do the answers. It promises what the inbox on the other side promises, and adds nothing but the way there and back.

import { AsyncLocalStorage } from "node:async_hooks";

import { InboxUnavailable, UserError } from "../errors.ts";
import type { Inbox } from "./inbox.ts";
import {
  type Answer,
  type Call,
  type Calls,
  type Failure,
  isMany,
  type Method,
  pack,
  packAnswer,
  type Told,
  unpack,
  unpackAccepted,
} from "./wire.ts";

/** One end of a way for messages: a `Worker`, its `self`, or a `MessagePort`. */
export interface Port {
  postMessage(message: unknown, options?: { transfer?: ArrayBuffer[] }): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** What is told first: how to open the inbox. Then calls. */
type Asked = { open: unknown } | Calls;

/** What `openInbox` gets to open one with. */
export interface Opened {
  onTrouble: (reason?: unknown) => void;
}

interface AskOptions {
  onTrouble?: ((reason?: unknown) => void) | undefined;
  /** Nothing is asked any more. */
  onClosed?: () => void;
}

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

// While so many are on their way the next ones come in: the other side begins with these. With all of a turn at once, the
// two would wait for each other.
const MOST_IN_MESSAGE = 12;

// A handler may be what asks: what is scheduled in its context would end with its version.
const asHost = AsyncLocalStorage.snapshot();

/** The side that asks. Rejects as the opening on the other side does. */
export async function askInbox(port: Port, opening: unknown, { onTrouble, onClosed }: AskOptions = {}): Promise<Inbox> {
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
    port.postMessage(packed, { transfer: [packed.bytes.buffer] });
  }

  function settle(id: number): Waiting | undefined {
    const found = waiting.get(id);
    waiting.delete(id);
    return found;
  }

  port.addEventListener("message", ({ data: told }: MessageEvent<Told>) => {
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

  const opened = wait<void>(0);
  port.postMessage({ open: opening } satisfies Asked);
  await opened;

  let closed: Promise<void> | undefined;
  async function close() {
    const over = ask<void>("close");
    ended = true;
    await over;
    onClosed?.();
  }
  const closeOnce = () => (closed ??= close());

  return {
    accept: async (delivery, ...words) => unpackAccepted(await ask("accept", delivery, ...words), delivery),
    claim: (...words) => ask("claim", ...words),
    settle: (...words) => ask("settle", ...words),
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

/** The side that has the inbox, which `openInbox` opens when the other one says so. */
export function answerInbox(port: Port, openInbox: (opening: never, told: Opened) => Promise<Inbox>): void {
  let inbox: Inbox | undefined;
  let news: (Omit<Told, "text"> & { many: Answer[] }) | undefined;

  port.addEventListener("message", ({ data }: MessageEvent<Asked>) => {
    if ("open" in data) void open(data.open);
    else for (const call of unpack(data)) answer(call);
  });

  async function open(opening: unknown) {
    try {
      const onTrouble = (reason?: unknown) => (tell().trouble = reason === undefined ? null : messageOf(reason));
      inbox = await openInbox(opening as never, { onTrouble });
      inbox.onWork(() => (tell().work = true));
      tell().others.push([0, undefined]);
    } catch (error) {
      tell().failures.push([0, failureOf(error)]);
    }
  }

  function answer([id, method, words]: Call) {
    (inbox![method] as (...words: unknown[]) => Promise<unknown>)(...words).then(
      (value) => {
        if (isMany(method)) tell().many.push([id, packAnswer(value)]);
        else tell().others.push([id, value]);
      },
      (error: unknown) => void tell().failures.push([id, failureOf(error)]),
    );
  }

  /** What will be told when all that the last commit has ended is in it. */
  function tell() {
    if (!news) queueMicrotask(send);
    return (news ??= { many: [], others: [], failures: [] });
  }

  function send() {
    const { many, ...rest } = news!;
    news = undefined;
    port.postMessage({ ...rest, text: JSON.stringify(many) } satisfies Told);
  }
}

function failureOf(error: unknown): Failure {
  const is =
    error instanceof InboxUnavailable ? "InboxUnavailable" : error instanceof UserError ? "UserError" : "Error";
  return { is, message: messageOf(error) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : Bun.inspect(error);
}

function errorOf({ is, message }: Failure): Error {
  if (is === "InboxUnavailable") return new InboxUnavailable(new Error(message));
  return is === "UserError" ? new UserError(message) : new Error(message);
}
