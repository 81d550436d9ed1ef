// The handlers that a test is about: those of a folder, loaded as the server loads them, or functions by name.

import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";

import type { HandlerFunction } from "../bellhop.ts";
import { type EventPattern, suggest } from "../clerk/events.ts";
import { processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { crawl } from "../handlers/crawl.ts";
import { readExport } from "../handlers/exports.ts";
import { type Handler, type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import { fileFor, matches, readName } from "../handlers/names.ts";
import { createVersion, type OnLateError } from "../handlers/version.ts";

/** Functions, or what `on()` returns, by the name that their files would have. */
export type HandlerRecord = { [P in EventPattern]?: HandlerFunction<P> } & {
  [P in EventPattern as `${P}/${string}`]?: HandlerFunction<P>;
};

export interface TableOptions {
  /**
   * A folder, or functions by name: `{ "user.created": handler }`. Default: `HANDLERS_DIR`, or `handlers`.
   *
   * The files of a folder are loaded apart from the test, as in the server. A function shares the test's modules, so
   * that `spyOn` and `mock.module` reach what it imports.
   */
  handlers?: string | HandlerRecord;
  /** Deliver to this one only: `"user.created/crm"`. */
  handler?: string;
  /** SQL that makes the tables which the handlers write to. Default: the folder's `_schema.sql`. */
  schema?: string;
  /** Instead of the time-out that each handler has: milliseconds or `"100ms"`. */
  timeout?: number | string;
}

/** Loads the handlers; those for `type` only, when it is given. Throws a `UserError` when they can't be had. */
export async function openTable(
  { handlers, handler, timeout, schema }: TableOptions,
  type: string | undefined,
  onError: OnLateError,
): Promise<HandlerTable> {
  const wanted = ({ name, event }: Pick<Handler, "name" | "event">) =>
    (handler === undefined || name === handler) && (type === undefined || matches(event, type));
  const dir = typeof handlers === "string" ? handlers : processEnvironment().HANDLERS_DIR?.trim() || "handlers";
  if (handler !== undefined) {
    const names = typeof handlers === "object" ? Object.keys(handlers) : await namesIn(dir);
    checkName(handler, names, type);
  }
  const loaded =
    typeof handlers === "object"
      ? await fromFunctions(handlers, wanted, onError)
      : await loadHandlers(folder(dir), onError, { only: wanted });
  const table = schema === undefined ? loaded : { ...loaded, schema };
  if (timeout === undefined) return table;
  return withHandlers(
    table,
    table.handlers.map((each) => ({ ...each, options: { ...each.options, timeout } })),
  );
}

/** What does not load can't be tested: says where it breaks. */
export function checkLoaded(table: HandlerTable, type: string) {
  for (const { error } of table.match(type)) {
    if (!error) continue;
    const where = isAbsolute(error.where) ? error.where : join(table.dir, error.where);
    throw new UserError(`${where} does not load: ${error.message}${error.source ? `\n\n    ${error.source}` : ""}`);
  }
}

function folder(dir: string): string {
  if (existsSync(dir)) return dir;
  throw new UserError(
    `There is no folder of handlers at ${resolve(dir)}.\n\n` +
      `    deliver("user.created", {}, { handlers: import.meta.dir + "/../handlers" })`,
  );
}

async function namesIn(dir: string): Promise<string[]> {
  return (await crawl(folder(dir))).handlers.map(({ name }) => name);
}

function checkName(handler: string, names: readonly string[], type: string | undefined) {
  if (names.includes(handler)) {
    const read = readName(fileFor(handler));
    if (type === undefined || "reason" in read || matches(read.event, type)) return;
    throw new UserError(`${handler} is for ${read.event}, not for ${type}`);
  }
  const meant = suggest(handler, names);
  const hint = meant ? `did you mean ${meant}?` : `there are: ${names.join(", ") || "none"}`;
  throw new UserError(`There is no handler ${handler}; ${hint}`);
}

async function fromFunctions(
  functions: HandlerRecord,
  wanted: (handler: Pick<Handler, "name" | "event">) => boolean,
  onError: OnLateError,
): Promise<HandlerTable> {
  const { version, release } = createVersion(onError);
  const handlers: Handler[] = [];
  for (const [key, run] of Object.entries(functions)) {
    const read = readName(fileFor(key));
    if ("reason" in read) throw new UserError(`${key} is no handler's name: it ${read.reason}`);
    const name = { ...read, name: key };
    if (!wanted(name)) continue;
    const { options, ...code } = await readExport(name, run, false);
    handlers.push({ ...name, options, code: { ...code, version } });
  }
  const nothing = { dir: "handlers", notHandlers: [], release } satisfies Partial<HandlerTable>;
  return withHandlers(nothing, handlers);
}

function withHandlers(
  table: Pick<HandlerTable, "dir" | "notHandlers" | "release" | "dead" | "schema">,
  handlers: readonly Handler[],
): HandlerTable {
  return {
    ...table,
    handlers,
    match: (type) => handlers.filter(({ event }) => matches(event, type)),
    get: (name) => handlers.find((each) => each.name === name),
    loaded: new Set(handlers.filter(({ code }) => code).map(({ name }) => name)),
  };
}
