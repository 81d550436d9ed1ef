// Keeps the handler table equal to the handlers folder, and reports each change once.
// A reload builds a whole new table and swaps it in atomically; runs in flight finish on the version they started with.

import { lstatSync, statSync } from "node:fs";
import { resolve } from "node:path";

import { listFiles, realPath } from "./crawl.ts";
import { filesOf, forget } from "./imports.ts";
import type { LoadError } from "./load-error.ts";
import { type Handler, type HandlerTable, loadHandlers, mergeLoaded, schemaOf } from "./loader.ts";
import type { OnLateError } from "./version.ts";
import { watchFiles } from "./watch.ts";

/** A change of one file, as the log reports it. */
export type Change =
  | { kind: "live"; handler: Handler; isNew: boolean }
  | { kind: "broken"; handler: Handler }
  | { kind: "gone"; handler: Handler }
  /** `_schema.sql` or `_migrations/` have changed. */
  | { kind: "schema" }
  | { kind: "ignored"; file: string; reason: string }
  /** `_dead.ts`, which is not a handler. `goesOn`: an earlier version of it stays in use. */
  | { kind: "dead"; file: string; is: "live" | "broken" | "gone"; error?: LoadError; goesOn?: boolean };

/** Whether the handlers' database needs other tables after a change. */
export function changesSchema(change: Change): boolean {
  return change.kind === "schema" || (change.kind === "live" && change.handler.code?.makeTables !== undefined);
}

export interface HandlerFolder {
  readonly table: HandlerTable;
  /** Checks the folder now; resolves when the table equals it. */
  look(): Promise<void>;
  /** Watches the folder from now on. `onChanges` is called after each swap. */
  watch(onChanges: (changes: Change[]) => void): void;
  /**
   * Loads failed files again, after `firstMs` and then with growing delays, until all are loaded: a dependency of
   * theirs may be unavailable for a while. Other files are left alone. `onChanges` is called when a file is live.
   */
  retryFailed(onChanges: (changes: Change[]) => void, firstMs?: number): void;
  close(): void;
}

const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 60_000;

/** Loads the folder once. */
export async function openHandlers(shown: string, onError: OnLateError): Promise<HandlerFolder> {
  // A handler may change the directory of the process.
  const dir = resolve(shown);
  let began = Date.now();
  let prints = await fingerprints(dir, []);
  let table = await load();
  let parts = await partsOf(table);
  addUnseen();
  let onChanges: (changes: Change[]) => void = () => undefined;
  let stopWatching = () => {};
  let looking: Promise<void> | undefined;
  let again = false;
  let closed = false;

  /** Lists a missing folder in `notHandlers` under its configured name. */
  async function load(previous?: HandlerTable): Promise<HandlerTable> {
    const loaded = await loadHandlers(dir, onError, previous && { previous });
    const named = loaded.notHandlers.map((found) => (found.file === dir ? { ...found, file: shown } : found));
    return { ...loaded, notHandlers: named };
  }

  async function lookOnce() {
    const now = await fingerprints(dir, outside(dir, parts));
    const changed = differing(prints, now);
    if (changed.size === 0) return;
    // Taken before the load, so that the next check finds changes made during it.
    prints = now;
    began = Date.now();
    const isPackage = [...changed].some((file) => file.includes("/node_modules/"));
    // Bun caches for each folder which packages it can see.
    forget(isPackage ? [...changed, ...now.keys()] : changed);
    const before = table;
    const beforeParts = parts;
    const loaded = await load(before);
    if (closed) return loaded.release();
    table = loaded;
    before.release();
    parts = await partsOf(table);
    const touched = (name: string) =>
      [...(parts.get(name) ?? []), ...(beforeParts.get(name) ?? [])].some((file) => changed.has(file));
    addUnseen();
    onChanges(describe(before, table, touched));
  }

  /** Adds files that appeared during the load. Without it, their next change would be missed. */
  function addUnseen() {
    const imported = printsOf(outside(dir, parts), began - CLOCK_MS);
    // Such a file may be gone already: the next check has to see it as changed in any case.
    const came = [...table.handlers, ...table.notHandlers]
      // A missing folder is listed in `notHandlers`.
      .filter(({ file }) => file !== shown)
      .map(({ file }) => [resolve(realPath(dir), file), "came"] as const);
    for (const [file, print] of [...imported, ...came]) if (!prints.has(file)) prints.set(file, print);
  }

  /** Returns whether all files are loaded now. */
  async function retryOnce(): Promise<boolean> {
    const before = table;
    const failed = new Set(before.handlers.filter(({ error }) => error).map(({ name }) => name));
    if (before.dead?.error) failed.add(before.dead.file);
    forget([...failed].flatMap((name) => [...(parts.get(name) ?? [])]));
    const loaded = await loadHandlers(dir, onError, { previous: before, only: ({ name }) => failed.has(name) });
    const merged = closed ? undefined : mergeLoaded(before, loaded);
    loaded.release();
    if (!merged) return false;
    table = merged;
    before.release();
    parts = await partsOf(table);
    onChanges(describe(before, table, () => false));
    return table.handlers.every(({ error }) => !error) && !table.dead?.error;
  }

  function retryIn(delayMs: number) {
    const retry = async () => {
      // Unreadable files are read again by the next retry.
      const isDone = await retryOnce().catch(() => false);
      if (!isDone && !closed) retryIn(Math.min(delayMs * 2, LONGEST_RETRY_MS));
    };
    const timer = setTimeout(() => void retry(), delayMs).unref();
    stopWatching = () => clearTimeout(timer);
  }

  async function lookUntilCalm() {
    try {
      while (again && !closed) {
        again = false;
        await lookOnce();
      }
    } finally {
      looking = undefined;
    }
  }

  function look(): Promise<void> {
    again = true;
    return (looking ??= lookUntilCalm());
  }

  return {
    get table() {
      return table;
    },
    look,
    watch(listener) {
      onChanges = listener;
      stopWatching = watchFiles(
        dir,
        () => outside(dir, parts),
        // Unreadable files are checked again in two seconds.
        () => look().catch(() => undefined),
      );
    },
    retryFailed(listener, firstMs = FIRST_RETRY_MS) {
      onChanges = listener;
      if (table.dead?.error || table.handlers.some(({ error }) => error)) retryIn(firstMs);
    },
    close() {
      closed = true;
      stopWatching();
      table.release();
    },
  };
}

/** Pure: the changes to report between two tables, given which handlers have changed files. */
export function describe(before: HandlerTable, after: HandlerTable, touched: (name: string) => boolean): Change[] {
  const changes: Change[] = [];
  for (const handler of after.handlers) {
    const old = before.get(handler.name);
    const renamed = old !== undefined && old.file !== handler.file;
    const fixed = old?.error !== undefined && handler.error === undefined;
    if (old && !renamed && !fixed && !touched(handler.name) && old.error?.message === handler.error?.message) continue;
    changes.push(
      handler.error ? { kind: "broken", handler } : { kind: "live", handler, isNew: old?.code === undefined },
    );
  }
  for (const handler of before.handlers) if (!after.get(handler.name)) changes.push({ kind: "gone", handler });
  const known = new Set(before.notHandlers.map(({ file, reason }) => `${file} ${reason}`));
  for (const { file, reason, quiet } of after.notHandlers)
    if (!quiet && !known.has(`${file} ${reason}`)) changes.push({ kind: "ignored", file, reason });
  if (sqlOf(after) !== sqlOf(before) && schemaOf(after)) changes.push({ kind: "schema" });
  return [...changes, ...describeDead(before.dead, after.dead, touched)];
}

const sqlOf = ({ schema, migrations }: HandlerTable) => JSON.stringify([schema, migrations]);

function describeDead(
  old: HandlerTable["dead"],
  dead: HandlerTable["dead"],
  touched: (name: string) => boolean,
): Change[] {
  if (!dead) return old ? [{ kind: "dead", file: old.file, is: "gone" }] : [];
  const { file, error, code } = dead;
  const same = old?.file === file && old.error?.message === error?.message;
  if (same && !touched(file)) return [];
  if (!error) return [{ kind: "dead", file, is: "live" }];
  return [{ kind: "dead", file, is: "broken", error, goesOn: code !== undefined }];
}

// File timestamps have a resolution of up to four milliseconds on Linux.
const CLOCK_MS = 5;

type Fingerprints = Map<string, string>;

/** A fingerprint of each file; it differs whenever the file may have changed. */
async function fingerprints(dir: string, others: Iterable<string>): Promise<Fingerprints> {
  const root = realPath(dir);
  const files = (await listFiles(dir))?.map((file) => resolve(root, file)) ?? [];
  return printsOf([...files, ...others]);
}

/** Files changed after `since` get a fingerprint that equals no other: it is unknown which of their states was loaded. */
function printsOf(files: Iterable<string>, since = Infinity): Fingerprints {
  const prints: Fingerprints = new Map();
  for (const file of files) {
    const stat = statOf(file);
    // `ctime` changes when a file is moved away and back, or when its permissions change.
    if (stat)
      prints.set(file, stat.ctimeMs >= since ? "came" : `${stat.ino} ${stat.mtimeMs} ${stat.ctimeMs} ${stat.size}`);
  }
  return prints;
}

/** The stat of the file; of the link itself when the link is broken or circular. */
function statOf(file: string) {
  try {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat) return stat;
  } catch {
    // A circular link.
  }
  return lstatSync(file, { throwIfNoEntry: false });
}

function differing(before: Fingerprints, after: Fingerprints): Set<string> {
  const files = new Set([...before.keys(), ...after.keys()]);
  return new Set([...files].filter((file) => before.get(file) !== after.get(file)));
}

/** The files that each handler consists of, by the handler's name; for `_dead.ts`, by its file name. */
async function partsOf({ dir, handlers, dead }: HandlerTable): Promise<Map<string, Set<string>>> {
  const all = [...handlers, ...(dead ? [{ name: dead.file, file: dead.file }] : [])];
  const root = realPath(dir);
  const parts = all.map(async ({ name, file }) => {
    const path = resolve(root, file);
    return [name, new Set([path, ...(await filesOf(realPath(path)))])] as const;
  });
  return new Map(await Promise.all(parts));
}

function outside(dir: string, parts: Map<string, Set<string>>): string[] {
  const all = new Set([...parts.values()].flatMap((files) => [...files]));
  return [...all].filter((file) => !file.startsWith(`${realPath(dir)}/`));
}
