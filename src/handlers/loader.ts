// Turns the folder of handlers into a table: crawl → names → modules → table.
// A file that does not load stops nobody else: it stands in the table with what is wrong with it, and where an earlier
// version of it is known, that one goes on.

import { resolve } from "node:path";

import * as bellhop from "../bellhop.ts";
import { eventNames, suggest } from "../clerk/events.ts";
import { formatDuration } from "../duration.ts";
import { crawl } from "./crawl.ts";
import { describeLoadError, type LoadError } from "./errors.ts";
import { type Misfit, readExport } from "./exports.ts";
import { DEAD, type HandlerName, matches, type NotAHandler, SCHEMA } from "./names.ts";
import { createVersion, type OnLateError, type Version } from "./version.ts";

/** What a loaded file can do. */
export interface Code {
  run: bellhop.HandlerFunction;
  version: Version;
  misfit?: Misfit;
  /** It brings tables along. */
  makeTables?: bellhop.MakeTables;
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
  match(type: string): readonly Handler[];
  get(name: string): Handler | undefined;
  /** The names of those that can run. */
  loaded: ReadonlySet<string>;
  /** `_dead.ts`, which is told of each run that dies. */
  dead?: { file: string; code?: Code; error?: LoadError };
  /** What stands in `_schema.sql`. */
  schema?: string;
  /** The table is used no longer: what no run holds any more is disposed of. */
  release(): void;
}

interface LoadOptions {
  /** A file that does not load keeps the code that it has there. */
  previous?: HandlerTable;
  /** How long one file may take. */
  timeoutMs?: number;
  /** Which of the handlers are wanted; the files of the others are left alone. Default: all. */
  only?: (name: HandlerName) => boolean;
}

// A top-level await that never ends would keep all the others from loading.
const LOAD_TIMEOUT_MS = 10_000;

// Clerk has some fifty.
const MOST_TYPES = 1_000;

/** Loads every handler of a folder, afresh. `onError` hears what their code throws when nobody is there to catch it. */
export async function loadHandlers(
  dir: string,
  onError: OnLateError,
  { previous, timeoutMs = LOAD_TIMEOUT_MS, only = () => true }: LoadOptions = {},
): Promise<HandlerTable> {
  const { handlers: names, notHandlers } = await crawl(dir);
  const { version, release } = createVersion(onError);
  const importFile = (file: string) => within(timeoutMs, version.import(resolve(dir, file)));
  const handlers: Handler[] = [];
  // One after the other: `on()` calls are counted, and errors are told in the order of the folder.
  for (const name of names.filter(only))
    handlers.push(withLastGood(await load(name, version, dir, importFile), previous));
  const dead = await loadDead(notHandlers, version, dir, importFile, previous);
  const holds = [...handlers, dead].map((each) => each?.code?.version.hold());
  // From here on the version lives as long as somebody uses it.
  release();
  const schema = await readSchema(dir, notHandlers);
  return createTable({ dir, handlers, notHandlers, ...(dead && { dead }), ...(schema && { schema }) }, holds);
}

/** On its own, since what a closure of `loadHandlers` keeps alive is its arguments too: the table before, and all before that. */
function createTable(
  facts: Pick<HandlerTable, "dir" | "handlers" | "notHandlers" | "dead" | "schema">,
  holds: readonly ((() => void) | undefined)[],
): HandlerTable {
  const { handlers } = facts;
  const byName = new Map(handlers.map((handler) => [handler.name, handler]));
  const byType = new Map<string, readonly Handler[]>();
  return {
    ...facts,
    match(type) {
      const known = byType.get(type);
      if (known) return known;
      const found = handlers.filter(({ event }) => matches(event, type));
      if (byType.size < MOST_TYPES) byType.set(type, found);
      return found;
    },
    get: (name) => byName.get(name),
    loaded: new Set(handlers.filter(({ code }) => code).map(({ name }) => name)),
    release: () => holds.forEach((letGo) => letGo?.()),
  };
}

/** What has to be in the handlers' database, or undefined when nobody wants anything. */
export function schemaOf({ handlers, schema }: Pick<HandlerTable, "handlers" | "schema">) {
  const tables = handlers.flatMap(({ code }) => code?.makeTables ?? []);
  return schema === undefined && tables.length === 0 ? undefined : { tables, text: schema };
}

type ImportFile = (file: string) => Promise<{ default?: unknown }>;

async function load(name: HandlerName, version: Version, dir: string, importFile: ImportFile): Promise<Handler> {
  const before = bellhop.registrations;
  try {
    const { default: exported } = await importFile(name.file);
    const { options, ...code } = await readExport(name, exported, bellhop.registrations > before);
    return { ...name, options, code: { ...code, version }, ...warn(name) };
  } catch (error) {
    return { ...name, options: {}, error: await explain(name.file, dir, error) };
  }
}

function withLastGood(handler: Handler, previous: HandlerTable | undefined): Handler {
  const before = handler.error ? previous?.get(handler.name) : undefined;
  return before?.code ? { ...handler, code: before.code, options: before.options } : handler;
}

/** `_dead.ts` is no handler, but it is code of the same version, and a slip in it leaves the last good one as well. */
async function loadDead(
  files: readonly NotAHandler[],
  version: Version,
  dir: string,
  importFile: ImportFile,
  previous: HandlerTable | undefined,
): Promise<HandlerTable["dead"]> {
  const file = files.map((each) => each.file).find((each) => DEAD.test(each));
  if (!file) return undefined;
  try {
    const { default: run } = await importFile(file);
    if (typeof run !== "function") throw new TypeError(`handlers/${file} must export a function by default`);
    return { file, code: { run: run as bellhop.HandlerFunction, version } };
  } catch (error) {
    const code = previous?.dead?.code;
    return { file, error: await explain(file, dir, error), ...(code && { code }) };
  }
}

async function readSchema(dir: string, files: readonly NotAHandler[]): Promise<string | undefined> {
  if (!files.some(({ file }) => file === SCHEMA)) return undefined;
  // It may go away meanwhile.
  return Bun.file(resolve(dir, SCHEMA))
    .text()
    .catch(() => undefined);
}

async function explain(file: string, dir: string, error: unknown): Promise<LoadError> {
  // What was thrown may itself throw when it is looked at.
  const unreadable = { where: file, message: "threw something that throws when it is looked at" };
  return describeLoadError(file, resolve(dir, file), error).catch(() => unreadable);
}

/** Clerk adds types before we know them, so a strange name still runs; most often, though, it is a slip. */
function warn({ event }: HandlerName): { warning?: string } {
  if (event === "*" || eventNames.some((name) => matches(event, name))) return {};
  const meant = suggest(event);
  return { warning: `Clerk has no event ${event} that Bellhop knows${meant ? `; did you mean ${meant}?` : ""}` };
}

/** Rejects when the promise takes too long. */
async function within<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const says = `did not finish loading within ${formatDuration(timeoutMs)}: does it await something at its top level?`;
  const timer = setTimeout(() => reject(new Error(says)), timeoutMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
