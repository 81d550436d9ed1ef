// A dispatcher over a real inbox, with handlers that are plain functions.

import { join } from "node:path";

import { matchesPattern } from "../../src/clerk/pattern.ts";
import type { Cluster } from "../../src/cluster/cluster.ts";
import { type Effects, openEffects } from "../../src/db/effects.ts";
import { type Dispatcher, startDispatcher } from "../../src/dispatch/dispatcher.ts";
import type { BreakerOptions } from "../../src/dispatch/pauses.ts";
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

/** Runs the test's functions in place, without a module graph. */
const host: Version = {
  import: () => Promise.reject(new Error("the handler has no file")),
  enter: (call) => call(),
  hold: () => () => undefined,
};

/** A handler table of functions by name: `{ "user.created": ({ data }) => … }`. */
export function tableOf(functions: Functions): HandlerTable {
  const handlers = Object.entries(functions).map(([name, definition]): Handler => {
    const read = readName(`${name}.ts`);
    if ("reason" in read) throw new Error(read.reason);
    if (definition === "broken") return { ...read, options: {}, error: { where: read.file, message: "does not load" } };
    const [options, run] = typeof definition === "function" ? [{}, definition] : definition;
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
  /** Returns the current handlers. Replaces the functions. */
  table?: () => HandlerTable;
  cluster?: Cluster;
  breaker?: BreakerOptions;
  /** Wraps the inbox that the dispatcher uses. */
  wrap?: (inbox: Inbox) => Inbox;
  /** Prepares the databases before the dispatcher starts, as an earlier process would. */
  before?: (inbox: Inbox, effects: Effects) => Promise<void>;
}

export interface Dispatching extends AsyncDisposable {
  inbox: Inbox;
  effects: Effects;
  dispatcher: Dispatcher;
  outcomes: { run: ClaimedRun; outcome: Outcome }[];
  /** `paused user.created`, `resumed user.created`, as reported. */
  pauses: string[];
  lines: LogLine[];
  troubles: unknown[];
  /** Accepts an event, so that its handlers run. */
  send(id: string, more?: Partial<NewDelivery>): Promise<void>;
  run(id: string, index?: number): Promise<RunView>;
  /** Waits for a run to be in a state or to satisfy a condition. */
  reaches(id: string, state: RunView["state"] | ((run: RunView) => boolean), index?: number): Promise<RunView>;
}

/** Starts a dispatcher. Disposal stops it at once and closes the inbox. */
export async function dispatching(functions: Functions, options: Options = {}): Promise<Dispatching> {
  const tableOfFunctions = tableOf(functions);
  const {
    concurrency = 16,
    clocks,
    wrap = (inbox) => inbox,
    table = () => tableOfFunctions,
    before,
    cluster,
    breaker,
  } = options;
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const inbox = opened.use(await openSqliteInbox(path, clocks));
  const outcomes: Dispatching["outcomes"] = [];
  const lines: LogLine[] = [];
  const pauses: string[] = [];
  const troubles: unknown[] = [];
  const effects = opened.use(await openEffects({ kind: "sqlite", filename: join(path, "app.db") }));
  await before?.(inbox, effects);
  const wrapped = wrap(inbox);
  const dispatcher = await startDispatcher({
    inbox: wrapped,
    effects,
    table,
    concurrency,
    ...(cluster && { cluster }),
    breaker,
    onPaused: ({ handler, isOwn }) => pauses.push(`paused ${handler}${isOwn ? "" : " elsewhere"}`),
    onResumed: ({ handler, isOwn }) => pauses.push(`resumed ${handler}${isOwn ? "" : " elsewhere"}`),
    onOutcome: (run, outcome) => outcomes.push({ run, outcome }),
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
    outcomes,
    pauses,
    lines,
    troubles,
    async send(id, more = {}) {
      const event = message(id, more);
      await wrapped.accept(event, runsFor(table(), event.type));
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

/** A delivery of a user's event. Its subject is its id by default. */
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

/** The inbox with some operations replaced. */
export const withOperations = (inbox: Inbox, operations: Partial<Inbox>): Inbox =>
  new Proxy(inbox, {
    get: (target, name): unknown => Reflect.get(name in operations ? operations : target, name),
  });

/** Makes an operation of the inbox fail the first `times` times. */
export function failing(operation: "finish" | "claim" | "abandoned" | "park" | "sweep", times: number) {
  let failures = 0;
  return {
    get failures() {
      return failures;
    },
    wrap: (inbox: Inbox): Inbox =>
      withOperations(inbox, {
        async [operation](...args: unknown[]) {
          if (failures >= times) return (inbox[operation] as (...args: unknown[]) => unknown)(...args);
          failures += 1;
          throw new InboxUnavailable(new Error("disk I/O error"));
        },
      }),
  };
}
