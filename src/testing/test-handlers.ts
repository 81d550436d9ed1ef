// Loads the handlers under test: those of a directory, loaded as the server loads them, or functions by name.

import { existsSync } from "node:fs";
import { resolve } from "node:path";

import type { EventPattern } from "../clerk/events.ts";
import { matchesPattern } from "../clerk/pattern.ts";
import { handlersDirOf, processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { crawl } from "../handlers/crawl.ts";
import { readExport } from "../handlers/exports.ts";
import { loadErrorText } from "../handlers/load-error.ts";
import { type Handler, type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import { fileFor, readName } from "../handlers/names.ts";
import { createVersion, type OnLateError } from "../handlers/version.ts";
import type { HandlerFunction } from "../index.ts";
import { didYouMean } from "../suggest.ts";

/** Handler functions, or the return values of `on()`, by the name that their files would have. */
export type HandlerRecord = { [P in EventPattern]?: HandlerFunction<P> } & {
  [P in EventPattern as `${P}/${string}`]?: HandlerFunction<P>;
};

export interface TableOptions {
  /**
   * A directory, or functions by name: `{ "user.created": handler }`. Default: `HANDLERS_DIR`, or `handlers`.
   *
   * The files of a directory are loaded into a module graph of their own, as in the server. A function shares the test's
   * modules, so `spyOn` and `mock.module` affect what it imports.
   */
  handlers?: string | HandlerRecord;
  /** Run only this handler: `"user.created/crm"`. */
  handler?: string;
  /** SQL that creates the tables the handlers write to. Default: the directory's `_migrations/` and `_schema.sql`. */
  schema?: string;
  /** Overrides the timeout of every handler: milliseconds or `"100ms"`. */
  timeout?: number | string;
}

/** Loads the handlers, only those for `type` if it is given. Throws a `UserError` when they can't be loaded. */
export async function openTable(
  { handlers, handler, timeout, schema }: TableOptions,
  type: string | undefined,
  onError: OnLateError,
): Promise<HandlerTable> {
  const isSelected = ({ name, event }: Pick<Handler, "name" | "event">) =>
    (handler === undefined || name === handler) && (type === undefined || matchesPattern(event, type));
  const dir = typeof handlers === "string" ? handlers : handlersDirOf(processEnvironment());
  if (handler !== undefined) {
    const names = typeof handlers === "object" ? Object.keys(handlers) : await namesIn(dir);
    checkName(handler, names, type);
  }
  const loaded =
    typeof handlers === "object"
      ? await fromFunctions(handlers, isSelected, onError)
      : await loadHandlers(checkDir(dir), onError, { only: isSelected });
  const { migrations: _, ...rest } = loaded;
  const table = schema === undefined ? loaded : { ...rest, schema };
  if (timeout === undefined) return table;
  return withHandlers(
    table,
    table.handlers.map((loadedHandler) => ({
      ...loadedHandler,
      options: { ...loadedHandler.options, timeout },
    })),
  );
}

/** Throws a `UserError` with the file and line when a handler for `type` does not load: it can't be tested. */
export function checkLoaded(table: HandlerTable, type: string) {
  for (const { error } of table.match(type)) if (error) throw new UserError(loadErrorText(table.dir, error));
}

function checkDir(dir: string): string {
  if (existsSync(dir)) return dir;
  throw new UserError(
    `The handlers directory ${resolve(dir)} does not exist. Pass its path:\n\n` +
      `    deliver("user.created", {}, { handlers: import.meta.dir + "/../handlers" })`,
  );
}

async function namesIn(dir: string): Promise<string[]> {
  return (await crawl(checkDir(dir))).handlers.map(({ name }) => name);
}

function checkName(handler: string, names: readonly string[], type: string | undefined) {
  if (names.includes(handler)) {
    const read = readName(fileFor(handler));
    if (type === undefined || "reason" in read || matchesPattern(read.event, type)) return;
    throw new UserError(`${handler} is for ${read.event}, not for ${type}`);
  }
  const found = `; handlers found: ${names.join(", ") || "none"}`;
  throw new UserError(`Unknown handler ${handler}${didYouMean(handler, names, found)}`);
}

async function fromFunctions(
  functions: HandlerRecord,
  isSelected: (handler: Pick<Handler, "name" | "event">) => boolean,
  onError: OnLateError,
): Promise<HandlerTable> {
  const { version, release } = createVersion(onError);
  const handlers: Handler[] = [];
  for (const [key, run] of Object.entries(functions)) {
    const read = readName(fileFor(key));
    if ("reason" in read) throw new UserError(`${key} is not a handler name: ${read.reason}`);
    const name = { ...read, name: key };
    if (!isSelected(name)) continue;
    const { options, ...code } = await readExport(name, run, false);
    handlers.push({ ...name, options, code: { ...code, version } });
  }
  const empty = { dir: "handlers", notHandlers: [], release } satisfies Partial<HandlerTable>;
  return withHandlers(empty, handlers);
}

function withHandlers(
  table: Pick<HandlerTable, "dir" | "notHandlers" | "release" | "dead" | "schema" | "migrations">,
  handlers: readonly Handler[],
): HandlerTable {
  return {
    ...table,
    handlers,
    match: (type) => handlers.filter(({ event }) => matchesPattern(event, type)),
    get: (name) => handlers.find((handler) => handler.name === name),
    loaded: new Set(handlers.filter(({ code }) => code).map(({ name }) => name)),
  };
}
