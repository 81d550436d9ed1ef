// A dispatcher over a real inbox, with handlers that are plain functions.

import { join } from "node:path";

import { matchesPattern } from "../../src/clerk/pattern.ts";
import { type Effects, openEffects } from "../../src/db/effects.ts";
import { type Dispatcher, startDispatcher } from "../../src/dispatch/dispatcher.ts";
import { InboxUnavailable } from "../../src/errors.ts";
import type { Handler, HandlerTable } from "../../src/handlers/loader.ts";
import { readName } from "../../src/handlers/names.ts";
import type { Version } from "../../src/handlers/version.ts";
import type { ClaimedRun, Inbox, LogLine, NewDelivery, Outcome } from "../../src/inbox/inbox.ts";
import { openSqliteInbox } from "../../src/inbox/open.ts";
import type { RunView } from "../../src/inbox/views.ts";
import type { HandlerFunction, HandlerOptions } from "../../src/index.ts";
import { at, type Clocks } from "../inbox/box.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { until } from "../until.ts";

type Functions = Record<string, HandlerFunction | [HandlerOptions, HandlerFunction] | "broken">;

/** Where functions of the test run: nowhere else. */
const host: Version = {
  import: () => Promise.reject(new Error("there is no file")),
  enter: (call) => call(),
  hold: () => () => undefined,
};

/** A table of functions by name: `{ "user.created": ({ data }) => … }`. */
export function tableOf(functions: Functions): HandlerTable {
  const handlers = Object.entries(functions).map(([name, given]): Handler => {
    const read = readName(`${name}.ts`);
    if ("reason" in read) throw new Error(read.reason);
    if (given === "broken") return { ...read, options: {}, error: { where: read.file, message: "does not load" } };
    const [options, run] = typeof given === "function" ? [{}, given] : given;
    return { ...read, options, code: { run, version: host } };
  });
  return {
    dir: "handlers",
    handlers,
    notHandlers: [],
    match: (type) => handlers.filter(({ event }) => matchesPattern(event, type)),
    get: (name) => handlers.find((handler) => handler.name === name),
    loaded: new Set(handlers.filter(({ code }) => code).map(({ name }) => name)),
    release: () => undefined,
  };
}

interface Options {
  concurrency?: number;
  clocks?: Clocks;
  /** The handlers as they are now, instead of the functions. */
  table?: () => HandlerTable;
  /** Puts something between the dispatcher and the inbox. */
  between?: (inbox: Inbox) => Inbox;
  /** What happened before the dispatcher starts, as in an earlier process. */
  before?: (inbox: Inbox, effects: Effects) => Promise<void>;
}

export interface Dispatching extends AsyncDisposable {
  inbox: Inbox;
  effects: Effects;
  dispatcher: Dispatcher;
  ends: { run: ClaimedRun; outcome: Outcome }[];
  lines: LogLine[];
  troubles: unknown[];
  /** Accepts an event; its handlers run. */
  send(id: string, more?: Partial<NewDelivery>): Promise<void>;
  run(id: string, index?: number): Promise<RunView>;
  /** Waits for a run to be in a state or to satisfy a condition. */
  reaches(id: string, state: RunView["state"] | ((run: RunView) => boolean), index?: number): Promise<RunView>;
}

/** Starts it; its disposal stops it at once and closes the inbox. */
export async function dispatching(functions: Functions, options: Options = {}): Promise<Dispatching> {
  const { concurrency = 16, clocks, between = (inbox) => inbox, before } = options;
  const { table = always(tableOf(functions)) } = options;
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const inbox = opened.use(await openSqliteInbox(path, clocks));
  const [ends, lines, troubles]: [Dispatching["ends"], LogLine[], unknown[]] = [[], [], []];
  const effects = opened.use(await openEffects({ kind: "sqlite", filename: join(path, "app.db") }));
  await before?.(inbox, effects);
  const served = between(inbox);
  const dispatcher = await startDispatcher({
    inbox: served,
    effects,
    table,
    concurrency,
    onOutcome: (run, outcome) => ends.push({ run, outcome }),
    onLog: (_, line) => lines.push(line),
    onTrouble: (error) => troubles.push(error),
  });
  opened.defer(() => dispatcher.stop(0));
  const held = opened.move();
  const run = async (id: string, index = 0) => {
    const view = (await inbox.get(id))?.runs[index];
    if (!view) throw new Error(`${id} has no run ${index}`);
    return view;
  };
  return {
    inbox,
    effects,
    dispatcher,
    ends,
    lines,
    troubles,
    async send(id, more = {}) {
      const event = message(id, more);
      await served.accept(event, runsFor(table(), event.type));
    },
    run,
    reaches: (id, state, index) =>
      until(`the run of ${id} to be ${String(state)}`, async () => {
        const view = await run(id, index);
        return (typeof state === "string" ? view.state === state : state(view)) ? view : undefined;
      }),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function always<T>(value: T): () => T {
  return () => value;
}

/** A user's event as it is stored; its subject is its id unless one is given. */
export function message(id: string, more: Partial<NewDelivery> = {}): NewDelivery {
  const subject = more.subject === undefined ? id : more.subject;
  const type = more.type ?? "user.created";
  const event = { type, object: "event", data: { id: subject }, timestamp: more.at ?? at(0) };
  const body = new TextEncoder().encode(JSON.stringify(event));
  return {
    id,
    type,
    at: at(0),
    sample: false,
    sensitive: false,
    receivedAt: at(1),
    headers: {},
    body,
    ...more,
    subject,
  };
}

export function runsFor(table: HandlerTable, type: string) {
  return table.match(type).map(({ name, lane, code }) => ({ handler: name, lane, parked: code === undefined }));
}

/** An inbox of which one operation refuses `times` times; `durable` when what was asked for happened all the same. */
export function refusing(operation: "finish" | "claim" | "accept" | "park", times: number, { durable = false } = {}) {
  let refused = 0;
  return {
    get refused() {
      return refused;
    },
    between: (inbox: Inbox): Inbox =>
      new Proxy(inbox, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (name !== operation) return value;
          return async (...args: unknown[]) => {
            const call = () => (value as (...args: unknown[]) => Promise<unknown>)(...args);
            if (refused >= times) return call();
            refused += 1;
            if (durable) await call();
            throw new InboxUnavailable(new Error("disk I/O error"));
          };
        },
      }),
  };
}
