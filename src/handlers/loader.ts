// Turns the folder of handlers into a table: crawl → names → modules → table. The only file that imports handler files.
// A file that does not load stops nobody else: it stands in the table with what is wrong with it.
// Handlers live in one `Bun.ModuleGraph`, so that an error of theirs that nobody caught is ours to name, not the process's end.

import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { resolve } from "node:path";

import * as bellhop from "../bellhop.ts";
import { eventNames, suggest } from "../clerk/events.ts";
import { formatDuration, parseDuration } from "../duration.ts";
import { describeLoadError, type LoadError } from "./errors.ts";
import { type HandlerName, matches, type NotAHandler, readName } from "./names.ts";

/** One handler file. `run` is there when it loaded, `error` when not. */
export interface Handler extends HandlerName {
  options: bellhop.HandlerOptions;
  run?: bellhop.HandlerFunction;
  error?: LoadError;
  /** Loaded, but perhaps not what was meant. */
  warning?: string;
}

export interface HandlerTable {
  dir: string;
  handlers: readonly Handler[];
  notHandlers: readonly NotAHandler[];
  /** The handlers for events of this type, those included that did not load: their runs wait. */
  match(type: string): Handler[];
  get(name: string): Handler | undefined;
  /** The names of those that can run. */
  loaded: ReadonlySet<string>;
  /** Calls into the handlers' own context: what it opens belongs to it, and so do its late errors. */
  enter<T>(call: () => T): T;
}

// A top-level await that never ends would keep all the others from loading.
const LOAD_TIMEOUT_MS = 10_000;

/** Loads every handler of a folder. `onError` hears what their code throws when nobody is there to catch it. */
export async function loadHandlers(
  dir: string,
  onError: (error: unknown) => void,
  { timeoutMs = LOAD_TIMEOUT_MS } = {},
): Promise<HandlerTable> {
  shareBellhop();
  refuseExit();
  const { handlers: names, notHandlers } = await crawl(dir);
  const graph = new Bun.ModuleGraph({ onError });
  const handlers: Handler[] = [];
  // One after the other: `on()` calls are counted, and errors are told in the order of the folder.
  for (const name of names) handlers.push(await load(graph, dir, name, timeoutMs));
  const byName = new Map(handlers.map((handler) => [handler.name, handler]));
  return {
    dir,
    handlers,
    notHandlers,
    match: (type) => handlers.filter(({ event }) => matches(event, type)),
    get: (name) => byName.get(name),
    loaded: new Set(handlers.filter(({ run }) => run).map(({ name }) => name)),
    enter: (call) => graph.run(call),
  };
}

async function crawl(dir: string): Promise<{ handlers: HandlerName[]; notHandlers: NotAHandler[] }> {
  if (!existsSync(dir))
    return {
      handlers: [],
      notHandlers: [{ file: dir, reason: "is no folder; make it with: bun new user.created", quiet: false }],
    };
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) =>
      resolve(entry.parentPath, entry.name)
        .slice(resolve(dir).length + 1)
        .replaceAll("\\", "/"),
    )
    .filter((file) => !file.includes("node_modules/"))
    .toSorted();
  const handlers = new Map<string, HandlerName>();
  const notHandlers: NotAHandler[] = [];
  for (const file of files) {
    const read = readName(file);
    if ("reason" in read) {
      notHandlers.push(read);
      continue;
    }
    // macOS and Windows hold such names for one file: what runs must not depend on the machine.
    const twin = handlers.get(read.name.toLowerCase());
    if (twin) notHandlers.push({ file, reason: `has the same name as ${twin.file}`, quiet: false });
    else handlers.set(read.name.toLowerCase(), read);
  }
  return { handlers: [...handlers.values()], notHandlers };
}

async function load(graph: Bun.ModuleGraph, dir: string, name: HandlerName, timeoutMs: number): Promise<Handler> {
  const path = resolve(dir, name.file);
  const before = bellhop.registrations;
  try {
    const loaded = await within(timeoutMs, graph.import<{ default?: unknown }>(path));
    return { ...name, ...readExport(name, loaded.default, bellhop.registrations > before), ...warn(name) };
  } catch (error) {
    // What was thrown may itself throw when it is looked at.
    const unreadable = { where: name.file, message: "threw something that throws when it is looked at" };
    return { ...name, options: {}, error: await describeLoadError(name.file, path, error).catch(() => unreadable) };
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
  const { attempts, timeout, stale, ...unknown } = options;
  const [slip] = Object.keys(unknown);
  if (slip) throw new TypeError(`handlers/${file}: there is no option ${slip}; there are attempts, timeout and stale`);
  if (attempts !== undefined && !(Number.isInteger(attempts) && attempts >= 1))
    throw new TypeError(
      `handlers/${file}: attempts is ${String(attempts)}, expected a whole number from 1, like attempts: 5`,
    );
  if (timeout !== undefined && !isTime(timeout))
    throw new TypeError(
      `handlers/${file}: timeout is ${Bun.inspect(timeout)}, expected milliseconds or a duration, like timeout: "30s"`,
    );
  if (stale !== undefined && stale !== "run" && stale !== "skip")
    throw new TypeError(`handlers/${file}: stale is ${JSON.stringify(stale)}, expected "run" or "skip"`);
  return options;
}

function isTime(time: number | string): boolean {
  try {
    return parseDuration(time) > 0;
  } catch {
    return false;
  }
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

let shared = false;

/** In the graph, `bellhop` would be a second copy, and `instanceof NonRetriableError` false: hand out this one. */
function shareBellhop() {
  if (shared) return;
  shared = true;
  Bun.plugin({
    name: "bellhop",
    setup: (build) => void build.module("bellhop", () => ({ exports: { ...bellhop }, loader: "object" })),
  });
}

let exitRefused = false;

/** `process.exit()` in a handler fails its run and stops nobody else. */
function refuseExit() {
  if (exitRefused) return;
  exitRefused = true;
  const exit = process.exit.bind(process);
  process.exit = (code) => {
    if (Bun.ModuleGraph.current === undefined) return exit(code);
    throw new Error(`a handler called process.exit(${code ?? ""}); throw an error to fail the run`);
  };
}
