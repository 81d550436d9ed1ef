// A complete Bellhop for one test: the real receiver, inbox, dispatcher and handlers, on a free port and in a temporary
// directory. Due times follow a clock that only the test moves. Disposing it leaves no file, socket or timer behind.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { ClerkClient } from "@clerk/backend";
import type { SQL } from "bun";

import { messageId } from "../clerk/message-id.ts";
import { openEffects } from "../db/effects.ts";
import { startDispatcher } from "../dispatch/dispatcher.ts";
import { createWatchdog } from "../dispatch/watchdog.ts";
import { parseDuration } from "../duration.ts";
import { errorText, readError } from "../failures/error-record.ts";
import { currentRun } from "../handlers/context.ts";
import { schemaOf } from "../handlers/loader.ts";
import { openSqliteInbox } from "../inbox/open.ts";
import type { DeliveryView } from "../inbox/views.ts";
import { startWebhookServer } from "../receive/webhook-server.ts";
import { readRuns, type TestRuns } from "./runs.ts";
import { type Answer, type DataInput, type EventInput, makeEvent, sendEvent, type SentEvent } from "./test-event.ts";
import { checkLoaded, openTable, type TableOptions } from "./test-handlers.ts";

/** A partial Clerk client, for handlers that use `clerk`. Methods that a handler calls must exist and may return anything. */
export type ClerkStandIn = {
  [Api in keyof ClerkClient]?: {
    [Name in keyof ClerkClient[Api]]?: ClerkClient[Api][Name] extends (...args: infer Args) => unknown
      ? (...args: Args) => unknown
      : unknown;
  };
};

export interface BellhopOptions extends TableOptions {
  /** The `clerk` of the handler context: `{ users: { updateUserMetadata: mock() } }`. */
  clerk?: ClerkStandIn;
}

/** The result of one delivery. */
export interface Delivered<E extends EventInput = EventInput> {
  /** The `svix-id`. */
  id: string;
  answer: Answer;
  event: SentEvent<E>;
  /** Runs by handler name; empty when no handler matches the event. */
  runs: TestRuns;
}

export interface TestBellhop extends AsyncDisposable {
  /** Like the function `deliver`, to this server. Using an `id` twice sends a duplicate. */
  deliver<E extends EventInput>(event: E, data?: DataInput<E>, options?: { id?: string }): Promise<Delivered<E>>;
  /**
   * Moves the clock by `"5s"` or milliseconds. Each run that becomes due on the way is attempted at its due time, so
   * `advance("1d")` runs a day of attempts. Resolves when all of them have finished.
   */
  advance(time: number | string): Promise<void>;
  /** Queries the handlers' database: Bun's SQL tagged template. */
  db: SQL;
  /** The current runs of a delivery. */
  runs(id: string): Promise<TestRuns>;
}

const WEBHOOK_PATH = "/api/webhooks";

/** Opens a Bellhop. With `type`, it has only the handlers for events of that type. */
export async function openBellhop(options: BellhopOptions, type?: string): Promise<TestBellhop> {
  await using opened = new AsyncDisposableStack();
  const uncaught: { source: string; error: unknown }[] = [];
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(24)));
  const ids = new Set<string>();
  let advancedMs = 0;
  const now = () => Date.now() + advancedMs;

  const table = await openTable(options, type, (error) => {
    const run = currentRun.getStore();
    run?.fail(errorText(error));
    uncaught.push({ source: run?.handler ?? "a handler", error });
  });
  opened.defer(() => table.release());
  const dataDir = await mkdtemp(join(tmpdir(), "bellhop-test-"));
  opened.defer(() => rm(dataDir, { recursive: true, force: true }));
  // With a running clock, whether a retry due in 50 ms has started when a test checks would depend on chance.
  const inbox = opened.use(await openSqliteInbox(dataDir, { monotonic: () => advancedMs }));
  const effects = opened.use(await openEffects({ kind: "sqlite", filename: join(dataDir, "app.db") }));
  const schema = schemaOf(table);
  if (schema) await effects.applySchema(schema);
  const dispatcher = await startDispatcher({
    inbox,
    effects,
    table: () => table,
    concurrency: 16,
    watchdog: createWatchdog({ logFormat: "pretty", logLevel: "info", blockedSeconds: 0 }),
    clerk: options.clerk as ClerkClient | undefined,
    now,
    onLate: (run, message) =>
      void inbox.note(run, { level: "error", message: `uncaught error: ${message}` }).catch(() => undefined),
    onDeadError: (error) => uncaught.push({ source: "_dead.ts", error }),
    onTrouble: (error) => uncaught.push({ source: "the dispatcher", error }),
  });
  opened.defer(() => dispatcher.stop(0));
  const receiver = startWebhookServer({
    host: "127.0.0.1",
    port: 0,
    webhookPath: WEBHOOK_PATH,
    maxBodyBytes: 1_048_576,
    secrets: () => [key],
    accept: (delivery, runs) => inbox.accept(delivery, runs),
    writable: () => inbox.writable,
    match: (type) =>
      table.match(type).map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined })),
    onError: (error) => uncaught.push({ source: "the receiver", error }),
    now,
  });
  opened.defer(() => receiver.stop());

  async function settle() {
    await dispatcher.idle();
    checkUncaught();
  }

  /** An uncaught error fails the test, as in any other test. */
  function checkUncaught() {
    const [first] = uncaught.splice(0);
    if (!first) return;
    const { source, error: cause } = first;
    throw new Error(
      `uncaught error in ${source}: ${readError(cause).error.message}; await the promise, or catch the error`,
      { cause },
    );
  }

  async function view(id: string): Promise<DeliveryView> {
    const found = await inbox.get(id);
    if (!found) throw new Error(`the inbox has no delivery ${id}`);
    return found;
  }

  /** Milliseconds until the next run becomes due; `Infinity` when none will. */
  async function nextDue(): Promise<number> {
    const views = await Promise.all([...ids].map(view));
    return Math.min(...views.flatMap(({ runs }) => runs.map(({ due }) => due || Infinity)));
  }

  async function move(milliseconds: number) {
    advancedMs += milliseconds;
    await settle();
  }

  const resources = opened.move();
  let closed: Promise<void> | undefined;
  return {
    async deliver(event, data, { id = messageId(now()) } = {}) {
      const sent = makeEvent(event, data, now());
      checkLoaded(table, (sent as { type: string }).type);
      const answer = await sendEvent(receiver.port, WEBHOOK_PATH, sent, { id, key, now: now() });
      await settle();
      if (answer.status !== 200) return { id, answer, event: sent, runs: {} };
      ids.add(id);
      return { id, answer, event: sent, runs: readRuns(await view(id)) };
    },
    async advance(time) {
      let remaining = parseDuration(time);
      for (let next = await nextDue(); next <= remaining; next = await nextDue()) {
        remaining -= next;
        await move(next);
      }
      await move(remaining);
    },
    db: effects.sql,
    runs: async (id) => readRuns(await view(id)),
    [Symbol.asyncDispose]: () => (closed ??= resources.disposeAsync().then(checkUncaught)),
  };
}
