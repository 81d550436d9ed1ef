// The inbox's thread: it opens the SQLite inbox, does what it is asked for, and tells how it went.

import { join } from "node:path";

import { InboxUnavailable, UserError } from "../errors.ts";
import { createCheckpointer } from "./checkpoint.ts";
import type { Inbox } from "./inbox.ts";
import { FILE, openSqliteInbox } from "./sqlite.ts";
import type { Asked, OpenOptions } from "./thread.ts";
import { type Answer, type Call, type Failure, isMany, packAnswer, type Told, unpack } from "./wire.ts";

declare const self: Worker;

type News = Omit<Told, "text"> & { many: Answer[] };

let inbox: Inbox | undefined;
let news: News | undefined;

self.addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  if ("open" in data) void open(data.open);
  else for (const call of unpack(data)) answer(call);
});

async function open({ dataDir, maxPages }: OpenOptions) {
  try {
    inbox = await openSqliteInbox(dataDir, {
      ...(maxPages !== undefined && { maxPages }),
      checkpointer: createCheckpointer(join(dataDir, FILE)),
      onTrouble: (reason) => (tell().trouble = reason === undefined ? null : messageOf(reason)),
    });
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
function tell(): News {
  if (!news) queueMicrotask(send);
  return (news ??= { many: [], others: [], failures: [] });
}

function send() {
  const { many, ...rest } = news!;
  news = undefined;
  self.postMessage({ ...rest, text: JSON.stringify(many) } satisfies Told);
}

function failureOf(error: unknown): Failure {
  const is =
    error instanceof InboxUnavailable ? "InboxUnavailable" : error instanceof UserError ? "UserError" : "Error";
  return { is, message: messageOf(error) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : Bun.inspect(error);
}
