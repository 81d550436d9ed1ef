// Turns the folder of handlers into a table: crawl → names → modules → table.
// A file that does not load never affects another: the table lists it with its error, and the last version that loaded,
// if any, stays in use.

import { resolve } from "node:path";

import { eventNames } from "../clerk/events.ts";
import { matchesPattern } from "../clerk/pattern.ts";
import { withDeadline } from "../deadline.ts";
import { formatDuration } from "../duration.ts";
import * as bellhop from "../index.ts";
import { didYouMean } from "../suggest.ts";
import { crawl, realPath } from "./crawl.ts";
import { type Misfit, readExport } from "./exports.ts";
import { describeLoadError, type LoadError } from "./load-error.ts";
import { DEAD, type HandlerName, MIGRATION, type NotAHandler, SCHEMA } from "./names.ts";
import { createVersion, type OnLateError, type Version } from "./version.ts";

/** The code of a loaded file. */
export interface Code {
  run: bellhop.HandlerFunction;
  version: Version;
  misfit?: Misfit;
  /** Creates the tables that the handler needs. */
  makeTables?: bellhop.MakeTables;
}

/** One handler file. `code` is set when it can run, `error` when the current file does not load. */
export interface Handler extends HandlerName {
  options: bellhop.HandlerOptions;
  /** Of the current file, or of the last version that loaded. */
  code?: Code;
  error?: LoadError;
  /** The file loads, but probably has a mistake. */
  warning?: string;
}

export interface HandlerTable {
  dir: string;
  handlers: readonly Handler[];
  notHandlers: readonly NotAHandler[];
  /** The handlers for events of this type, including handlers that do not load: their runs wait. */
  match(type: string): readonly Handler[];
  get(name: string): Handler | undefined;
  /** The names of the handlers that can run. */
  loaded: ReadonlySet<string>;
  /** `_dead.ts`, which is called for each run that dies. */
  dead?: { file: string; code?: Code; error?: LoadError };
  /** The text of `_schema.sql`. */
  schema?: string;
  /** The files of `_migrations/`, in the order of their names. */
  migrations?: readonly SqlFile[];
  /** Call it when the table is out of use. Versions that no run holds are disposed of. */
  release(): void;
}

/** Named by its path in the folder. */
interface SqlFile {
  name: string;
  text: string;
}

interface LoadOptions {
  /** A file that does not load keeps its code of this table. */
  previous?: HandlerTable;
  /** How long one file may take. */
  timeoutMs?: number;
  /** Which handlers to load; the files of the others are left alone. Default: all. */
  only?: (name: HandlerName) => boolean;
}

// A top-level await that never settles would block all other files.
const LOAD_TIMEOUT_MS = 10_000;

// Clerk has about fifty event types.
const MAX_CACHED_TYPES = 1_000;

/** Loads every handler of a folder as a new version. `onError` receives uncaught errors of their code. */
export async function loadHandlers(
  dir: string,
  onError: OnLateError,
  { previous, timeoutMs = LOAD_TIMEOUT_MS, only = () => true }: LoadOptions = {},
): Promise<HandlerTable> {
  const { handlers: names, notHandlers } = await crawl(dir);
  const { version, release } = createVersion(onError);
  const root = realPath(dir);
  const notLoaded = () =>
    new Error(`did not finish loading within ${formatDuration(timeoutMs)}: does it await something at its top level?`);
  const importFile = (file: string) =>
    withDeadline(version.import(realPath(resolve(root, file))), timeoutMs, notLoaded);
  const handlers: Handler[] = [];
  // Sequential: `on()` calls are counted per file, and errors are reported in the order of the folder.
  for (const name of names.filter(only))
    handlers.push(withLastGood(await load(name, version, root, importFile), previous));
  const dead = await loadDead(notHandlers, version, root, importFile, previous);
  const [[schema], migrations] = await Promise.all([
    readSql(root, notHandlers, ({ file }) => file === SCHEMA),
    readSql(root, notHandlers, ({ file }) => MIGRATION.test(file)),
  ]);
  const sql = { ...(schema && { schema: schema.text }), ...(migrations.length > 0 && { migrations }) };
  const table = createTable({ dir, handlers, notHandlers, ...(dead && { dead }), ...sql });
  // From here on only its users keep the version alive.
  release();
  return table;
}

/** Separate from `loadHandlers`, whose closures would keep its arguments alive: all previous tables. */
function createTable(
  facts: Pick<HandlerTable, "dir" | "handlers" | "notHandlers" | "dead" | "schema" | "migrations">,
): HandlerTable {
  const { handlers, dead } = facts;
  const releases = [...handlers, dead].map((file) => file?.code?.version.hold());
  const byName = new Map(handlers.map((handler) => [handler.name, handler]));
  const byType = new Map<string, readonly Handler[]>();
  return {
    ...facts,
    match(type) {
      const known = byType.get(type);
      if (known) return known;
      const found = handlers.filter(({ event }) => matchesPattern(event, type));
      if (byType.size < MAX_CACHED_TYPES) byType.set(type, found);
      return found;
    },
    get: (name) => byName.get(name),
    loaded: new Set(handlers.filter(({ code }) => code).map(({ name }) => name)),
    release: () => releases.forEach((release) => release?.()),
  };
}

/** Whether a file of handlers, by its real path, does not load. The code that runs is then an earlier one. */
export function failsToLoad({ dir, handlers }: Pick<HandlerTable, "dir" | "handlers">, path: string): boolean {
  const fileOf = ({ where }: LoadError) => resolve(realPath(dir), where.replace(/(?::\d+)+$/, ""));
  return handlers.some(({ error }) => error && fileOf(error) === path);
}

/** `before` with the handlers that load now; undefined when none does. The caller still has to release both tables. */
export function mergeLoaded(before: HandlerTable, loaded: HandlerTable): HandlerTable | undefined {
  const loadedNow = (handler: Handler) => {
    const now = handler.error && loaded.get(handler.name);
    return now && !now.error ? now : handler;
  };
  const handlers = before.handlers.map(loadedNow);
  const isDeadBetter = before.dead?.error !== undefined && loaded.dead !== undefined && !loaded.dead.error;
  if (!isDeadBetter && handlers.every((handler, index) => handler === before.handlers[index])) return undefined;
  const dead = isDeadBetter ? loaded.dead : before.dead;
  const { dir, notHandlers, schema, migrations } = before;
  return createTable({
    dir,
    handlers,
    notHandlers,
    ...(dead && { dead }),
    ...(schema !== undefined && { schema }),
    ...(migrations && { migrations }),
  });
}

/** The tables and migrations that the handlers' database needs, or undefined when it needs none. */
export function schemaOf({ handlers, schema, migrations }: Pick<HandlerTable, "handlers" | "schema" | "migrations">) {
  const tables = handlers.flatMap(({ code }) => code?.makeTables ?? []);
  const isEmpty = schema === undefined && migrations === undefined && tables.length === 0;
  return isEmpty ? undefined : { tables, migrations, text: schema };
}

type ImportFile = (file: string) => Promise<{ default?: unknown }>;

async function load(name: HandlerName, version: Version, dir: string, importFile: ImportFile): Promise<Handler> {
  const before = bellhop.registrations;
  try {
    const { default: exported } = await importFile(name.file);
    const { options, ...code } = await readExport(name, exported, bellhop.registrations > before);
    return { ...name, options, code: { ...code, version }, ...warn(name) };
  } catch (error) {
    return { ...name, options: {}, error: await toLoadError(name.file, dir, error) };
  }
}

function withLastGood(handler: Handler, previous: HandlerTable | undefined): Handler {
  const before = handler.error ? previous?.get(handler.name) : undefined;
  return before?.code ? { ...handler, code: before.code, options: before.options } : handler;
}

/** `_dead.ts` is not a handler, but belongs to the same version, and also keeps its last good code after an error. */
async function loadDead(
  files: readonly NotAHandler[],
  version: Version,
  dir: string,
  importFile: ImportFile,
  previous: HandlerTable | undefined,
): Promise<HandlerTable["dead"]> {
  const file = files.map((found) => found.file).find((path) => DEAD.test(path));
  if (!file) return undefined;
  try {
    const { default: run } = await importFile(file);
    if (typeof run !== "function") throw new TypeError(`${file} must export a function by default`);
    return { file, code: { run: run as bellhop.HandlerFunction, version } };
  } catch (error) {
    const code = previous?.dead?.code;
    return { file, error: await toLoadError(file, dir, error), ...(code && { code }) };
  }
}

/** Sorted by name, independent of the machine's locale. */
async function readSql(dir: string, files: readonly NotAHandler[], wanted: (file: NotAHandler) => boolean) {
  const names = files.filter(wanted).map(({ file }) => file);
  // A file may disappear meanwhile.
  const read = names.toSorted().map(async (name) => ({ name, text: await Bun.file(resolve(dir, name)).text() }));
  const settled = await Promise.allSettled(read);
  return settled.flatMap((each): SqlFile[] => (each.status === "fulfilled" ? [each.value] : []));
}

async function toLoadError(file: string, dir: string, error: unknown): Promise<LoadError> {
  // A thrown value may itself throw when it is read.
  const unreadable = { where: file, message: "threw something that throws when it is looked at" };
  return describeLoadError(file, resolve(dir, file), error).catch(() => unreadable);
}

/** Clerk adds types before Bellhop knows them, so an unknown name still runs; usually it is a typo, though. */
function warn({ event }: HandlerName): { warning?: string } {
  if (event === "*" || eventNames.some((name) => matchesPattern(event, name))) return {};
  return { warning: `Clerk has no event ${event} that Bellhop knows${didYouMean(event, eventNames)}` };
}
