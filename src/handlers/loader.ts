// Turns the folder of handlers into a table: crawl → names → modules → table. The only file that imports handler files.
// A file that does not load stops nobody else: it stands in the table with what is wrong with it, and where an earlier
// version of it is known, that one goes on.

import { resolve } from "node:path";

import type { TSchema } from "@sinclair/typebox";

import * as bellhop from "../bellhop.ts";
import { eventNames, suggest } from "../clerk/events.ts";
import { parseDuration } from "../duration.ts";
import { crawl } from "./crawl.ts";
import { describeLoadError, type LoadError } from "./errors.ts";
import { type HandlerName, matches, type NotAHandler } from "./names.ts";
import { createVersion, type OnLateError, type Version } from "./version.ts";

/** What a loaded file can do. */
export interface Code {
  run: bellhop.HandlerFunction;
  version: Version;
  /** Says where an event's data does not fit the `data` option: `data.public_metadata.plan: expected string, got null`. */
  misfit?: (data: unknown) => string | undefined;
}

/** One handler file. `code` is there when it can run, `error` when its file as it is now does not load. */
export interface Handler extends HandlerName {
  options: bellhop.HandlerOptions;
  /** What runs: of the file as it is now, or of the last version that loaded. */
  code?: Code;
  error?: LoadError;
  /** Loaded, but perhaps not what was meant. */
  warning?: string;
}

export interface HandlerTable {
  dir: string;
  handlers: readonly Handler[];
  notHandlers: readonly NotAHandler[];
  /** The handlers for events of this type, those included that do not load: their runs wait. */
  match(type: string): Handler[];
  get(name: string): Handler | undefined;
  /** The names of those that can run. */
  loaded: ReadonlySet<string>;
  /** `_dead.ts`, which is told of each run that dies. */
  dead?: { file: string; code?: Code; error?: LoadError };
  /** The table is used no longer: what no run holds any more is disposed of. */
  release(): void;
}

// A top-level await that never ends would keep all the others from loading.
const LOAD_TIMEOUT_MS = 10_000;

/**
 * Loads every handler of a folder, afresh. `onError` hears what their code throws when nobody is there to catch it.
 * A file that does not load keeps the code that it has in `previous`.
 */
export async function loadHandlers(dir: string, onError: OnLateError, previous?: HandlerTable): Promise<HandlerTable> {
  const { handlers: names, notHandlers } = await crawl(dir);
  const { version, release } = createVersion(onError);
  const handlers: Handler[] = [];
  // One after the other: `on()` calls are counted, and errors are told in the order of the folder.
  for (const name of names) handlers.push(withLastGood(await load(version, dir, name), previous));
  const dead = await loadDead(version, dir, notHandlers, previous);
  const holds = [...handlers, dead].map((each) => each?.code?.version.hold());
  // From here on the version lives as long as somebody uses it.
  release();
  const byName = new Map(handlers.map((handler) => [handler.name, handler]));
  return {
    dir,
    handlers,
    notHandlers,
    match: (type) => handlers.filter(({ event }) => matches(event, type)),
    get: (name) => byName.get(name),
    loaded: new Set(handlers.filter(({ code }) => code).map(({ name }) => name)),
    ...(dead && { dead }),
    release: () => holds.forEach((release) => release?.()),
  };
}

/** `_dead.ts` is no handler, but it is code of the same version, and a slip in it leaves the last good one as well. */
async function loadDead(
  version: Version,
  dir: string,
  files: readonly NotAHandler[],
  previous?: HandlerTable,
): Promise<HandlerTable["dead"]> {
  const file = files.map((each) => each.file).find((each) => /^_dead\.[cm]?[jt]s$/.test(each));
  if (!file) return undefined;
  const path = resolve(dir, file);
  try {
    const { default: run } = await within(version.import(path));
    if (typeof run !== "function") throw new TypeError(`handlers/${file} must export a function by default`);
    return { file, code: { run: run as bellhop.HandlerFunction, version } };
  } catch (error) {
    const code = previous?.dead?.code;
    return { file, error: await describeLoadError(file, path, error), ...(code && { code }) };
  }
}

function withLastGood(handler: Handler, previous: HandlerTable | undefined): Handler {
  const before = handler.error ? previous?.get(handler.name) : undefined;
  return before?.code ? { ...handler, code: before.code, options: before.options } : handler;
}

async function load(version: Version, dir: string, name: HandlerName): Promise<Handler> {
  const path = resolve(dir, name.file);
  const before = bellhop.registrations;
  try {
    const loaded = await within(version.import(path));
    const { run, options } = readExport(name, loaded.default, bellhop.registrations > before);
    const misfit = options.data && (await compileData(options.data));
    return { ...name, options, code: { run, version, ...(misfit && { misfit }) }, ...warn(name) };
  } catch (error) {
    return { ...name, options: {}, error: await describeLoadError(name.file, path, error) };
  }
}

function readExport({ file, event }: HandlerName, exported: unknown, registered: boolean) {
  const example = `    export default on("${event}", ({ data }) => { … });`;
  if (typeof exported !== "function") {
    const found = exported === undefined ? "exports nothing" : `exports ${typeof exported}`;
    const why = registered ? "It calls on(), but does not export what on() returns." : `It ${found} by default.`;
    throw new TypeError(`handlers/${file} must export a function by default. ${why}\n\n${example}`);
  }
  const meta = (exported as Partial<bellhop.RegisteredHandler>)[bellhop.registration];
  if (meta && meta.event !== event)
    throw new TypeError(
      `handlers/${file} is named for ${event}, but calls on("${meta.event}", …). Rename one of the two.`,
    );
  return { run: exported as bellhop.HandlerFunction, options: checkOptions(file, meta?.options ?? {}) };
}

function checkOptions(file: string, options: bellhop.HandlerOptions): bellhop.HandlerOptions {
  const { attempts, timeout, stale } = options;
  if (attempts !== undefined && !(Number.isInteger(attempts) && attempts >= 1))
    throw new TypeError(
      `handlers/${file}: attempts is ${String(attempts)}, expected a whole number from 1, like attempts: 5`,
    );
  if (timeout !== undefined && !(parseDuration(timeout) > 0))
    throw new TypeError(`handlers/${file}: timeout is ${timeout}, expected more than nothing, like timeout: "30s"`);
  if (stale !== undefined && stale !== "run" && stale !== "skip")
    throw new TypeError(`handlers/${file}: stale is ${JSON.stringify(stale)}, expected "run" or "skip"`);
  return options;
}

/** Loaded when it is first needed: the compiler is large, and most handlers have no schema. */
async function compileData(schema: TSchema): Promise<(data: unknown) => string | undefined> {
  const [{ TypeCompiler }, { mismatches }] = await Promise.all([
    import("@sinclair/typebox/compiler"),
    import("../clerk/check.ts"),
  ]);
  const check = TypeCompiler.Compile(schema);
  return (data) => {
    const [first] = mismatches(check, data);
    return first && `${first.path}: ${first.message}`;
  };
}

/** Clerk adds types before we know them, so a strange name still runs; most often, though, it is a slip. */
function warn({ event }: HandlerName): { warning?: string } {
  if (event === "*" || eventNames.some((name) => matches(event, name))) return {};
  const meant = suggest(event);
  return { warning: `Clerk has no event ${event} that Bellhop knows${meant ? `; did you mean ${meant}?` : ""}` };
}

/** Rejects when the promise takes too long. */
async function within<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const says = `did not finish loading within ${LOAD_TIMEOUT_MS / 1_000} s: does it await something at its top level?`;
  const timer = setTimeout(() => reject(new Error(says)), LOAD_TIMEOUT_MS);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
