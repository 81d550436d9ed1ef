// A whole Bellhop for one test: real receive, inbox, dispatch and handlers, on a free port and in a folder of its own.
// Its clock stands still and moves when the test says so. Disposed of, it leaves nothing behind.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { ClerkClient } from "@clerk/backend";
import type { SQL } from "bun";

import { messageId } from "../clerk/message-id.ts";
import { startDispatcher } from "../dispatch/dispatcher.ts";
import { openEffects } from "../dispatch/effects.ts";
import { eventTime } from "../dispatch/order.ts";
import { sayError } from "../dispatch/thrown.ts";
import { parseDuration } from "../duration.ts";
import { currentRun } from "../handlers/context.ts";
import { schemaOf } from "../handlers/loader.ts";
import type { DeliveryView } from "../inbox/inbox.ts";
import { openSqliteInbox } from "../inbox/sqlite.ts";
import { startReceiver } from "../receive/app.ts";
import { type DataInput, type EventInput, makeEvent, type SentEvent } from "./event.ts";
import { readRuns, type TestRuns } from "./runs.ts";
import { type Answer, sendEvent } from "./send.ts";
import { checkLoaded, openTable, type TableOptions } from "./table.ts";

/** Part of Clerk's client, for handlers that use `clerk`: what is called has to be there, and may return anything. */
export type ClerkStandIn = {
  [Api in keyof ClerkClient]?: {
    [Name in keyof ClerkClient[Api]]?: ClerkClient[Api][Name] extends (...words: infer Words) => unknown
      ? (...words: Words) => unknown
      : unknown;
  };
};

export interface BellhopOptions extends TableOptions {
  /** What handlers get as `clerk`: `{ users: { updateUserMetadata: mock() } }`. */
  clerk?: ClerkStandIn;
}

/** What became of one delivery. */
export interface Delivered<E extends EventInput = EventInput> {
  /** Its `svix-id`. */
  id: string;
  answer: Answer;
  event: SentEvent<E>;
  /** By handler; empty when no handler is for this event. */
  runs: TestRuns;
}

export interface TestBellhop extends AsyncDisposable {
  /** As `deliver` does, to this server. The same `id` again is a duplicate. */
  deliver<E extends EventInput>(event: E, data?: DataInput<E>, options?: { id?: string }): Promise<Delivered<E>>;
  /**
   * Moves the clock by `"5s"` or milliseconds. What falls due on the way runs when it falls due, so that
   * `advance("1d")` is a day of attempts. Resolves when it is over.
   */
  advance(time: number | string): Promise<void>;
  /** What the handlers wrote: Bun's tagged template on their database. */
  db: SQL;
  /** How the runs of a delivery stand now. */
  runs(id: string): Promise<TestRuns>;
}

const PATH = "/api/webhooks";

/** Opens it with the handlers for `type` only, when that is given. */
export async function openBellhop(options: BellhopOptions, type?: string): Promise<TestBellhop> {
  await using opened = new AsyncDisposableStack();
  const uncaught: { by: string; error: unknown }[] = [];
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(24)));
  const ids = new Set<string>();
  /** How far the test has moved the clock, in milliseconds. */
  let moved = 0;
  const now = () => Date.now() + moved;

  const table = await openTable(options, type, (error) => {
    const run = currentRun.getStore();
    run?.fail(sayError(error));
    uncaught.push({ by: run?.handler ?? "a handler", error });
  });
  opened.defer(() => table.release());
  const dataDir = await mkdtemp(join(tmpdir(), "bellhop-test-"));
  opened.defer(() => rm(dataDir, { recursive: true, force: true }));
  // Only the test moves this clock: a run that waits for 50 ms would else go, or not, by chance.
  const inbox = opened.use(await openSqliteInbox(dataDir, { monotonic: () => moved }));
  const effects = opened.use(await openEffects({ kind: "sqlite", filename: join(dataDir, "app.db") }));
  const schema = schemaOf(table);
  if (schema) await effects.applySchema(schema);
  const dispatcher = await startDispatcher({
    inbox,
    effects,
    table: () => table,
    concurrency: 16,
    clerk: options.clerk as ClerkClient | undefined,
    now,
    onLate: (ticket, says) =>
      void inbox.note(ticket, { level: "error", message: `not caught: ${says}` }).catch(() => undefined),
    onDeadError: (error) => uncaught.push({ by: "_dead.ts", error }),
    onTrouble: (error) => uncaught.push({ by: "the dispatcher", error }),
  });
  opened.defer(() => dispatcher.stop(0));
  const receiver = startReceiver({
    host: "127.0.0.1",
    port: 0,
    webhookPath: PATH,
    maxBodyBytes: 1_048_576,
    secrets: () => [key],
    inbox: dispatcher,
    match: (type) =>
      table.match(type).map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined })),
    eventTime,
    onError: (error) => uncaught.push({ by: "the receiver", error }),
    now,
  });
  opened.defer(() => receiver.stop());

  async function rest() {
    await dispatcher.idle();
    check();
  }

  /** What nobody caught fails the test, as it does everywhere else. */
  function check() {
    const [first] = uncaught.splice(0);
    if (!first) return;
    const { by, error: cause } = first;
    const says = cause instanceof Error ? cause.message : Bun.inspect(cause);
    throw new Error(`${by} threw when nobody was there to catch it: ${says}; await it, or catch it`, { cause });
  }

  async function view(id: string): Promise<DeliveryView> {
    const found = await inbox.get(id);
    if (!found) throw new Error(`there is no delivery ${id} in the inbox`);
    return found;
  }

  /** Milliseconds until a run falls due that is not due yet. */
  async function nextDue(): Promise<number> {
    const views = await Promise.all([...ids].map(view));
    return Math.min(...views.flatMap(({ runs }) => runs.map(({ due }) => due || Infinity)));
  }

  async function move(milliseconds: number) {
    moved += milliseconds;
    dispatcher.wake();
    await rest();
  }

  const everything = opened.move();
  let closed: Promise<void> | undefined;
  return {
    async deliver(event, data, { id = messageId(now()) } = {}) {
      const sent = makeEvent(event, data, now());
      checkLoaded(table, (sent as { type: string }).type);
      const answer = await sendEvent(receiver.port, PATH, { id, event: sent, key, now: now() });
      await rest();
      if (answer.status !== 200) return { id, answer, event: sent, runs: {} };
      ids.add(id);
      return { id, answer, event: sent, runs: readRuns(await view(id)) };
    },
    async advance(time) {
      let left = parseDuration(time);
      for (let next = await nextDue(); next <= left; next = await nextDue()) {
        left -= next;
        await move(next);
      }
      await move(left);
    },
    db: effects.sql,
    runs: async (id) => readRuns(await view(id)),
    [Symbol.asyncDispose]: () => (closed ??= everything.disposeAsync().then(check)),
  };
}
