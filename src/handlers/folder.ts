// The folder of handlers while it lives: whatever happens to it, the table equals it, and each change is told once.
// A reload makes a whole new table and swaps it in at once; runs in flight end on the version that they began with.

import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";

import { listFiles } from "./crawl.ts";
import type { LoadError } from "./errors.ts";
import { filesOf, forgetFolder } from "./imports.ts";
import { type Handler, type HandlerTable, loadHandlers } from "./loader.ts";
import type { OnLateError } from "./version.ts";
import { watchFiles } from "./watch.ts";

/** What happened to one file: for a person, in one line, and then what the line can't hold. */
export type Change =
  | { kind: "live"; handler: Handler; isNew: boolean }
  | { kind: "broken"; handler: Handler }
  | { kind: "gone"; handler: Handler }
  /** `_schema.sql` is there, or is another one. */
  | { kind: "schema" }
  | { kind: "ignored"; file: string; reason: string }
  /** `_dead.ts`, which is no handler; `goesOn` when an earlier version of it does. */
  | { kind: "dead"; file: string; is: "live" | "broken" | "gone"; error?: LoadError; goesOn?: boolean };

export interface HandlerFolder {
  readonly table: HandlerTable;
  /** Looks at the folder now; resolves when the table equals it. */
  look(): Promise<void>;
  /** Looks by itself from now on. `onChanges` is called after each swap. */
  watch(onChanges: (changes: Change[]) => void): void;
  close(): void;
}

/** Loads the folder once. */
export async function openHandlers(dir: string, onError: OnLateError): Promise<HandlerFolder> {
  let began = Date.now();
  let prints = await fingerprints(dir, []);
  let table = await loadHandlers(dir, onError);
  let parts = await partsOf(table);
  addUnseen();
  let onChanges: (changes: Change[]) => void = () => undefined;
  let stopWatching = () => {};
  let looking: Promise<void> | undefined;
  let again = false;
  let closed = false;

  async function lookOnce() {
    const now = await fingerprints(dir, outside(dir, parts));
    const changed = differing(prints, now);
    if (changed.size === 0) return;
    // Taken before the load: what changes meanwhile is found by the next look.
    prints = now;
    began = Date.now();
    for (const each of new Set([...changed].map((file) => dirname(file)))) forgetFolder(each);
    const before = table;
    const beforeParts = parts;
    const loaded = await loadHandlers(dir, onError, { previous: before });
    if (closed) return loaded.release();
    table = loaded;
    before.release();
    parts = await partsOf(table);
    const touched = (name: string) =>
      [...(parts.get(name) ?? []), ...(beforeParts.get(name) ?? [])].some((file) => changed.has(file));
    addUnseen();
    onChanges(describe(before, table, touched));
  }

  /** A file that was not there before the load has to be known, or its next change would be missed. */
  function addUnseen() {
    const imported = printsOf(outside(dir, parts), began - CLOCK_MS);
    // One that came in between may be gone already: whatever is there at the next look, it has changed.
    const came = [...table.handlers, ...table.notHandlers]
      // A folder that is not there stands among what is no handler.
      .filter(({ file }) => file !== dir)
      .map(({ file }) => [resolve(dir, file), "came"] as const);
    for (const [file, print] of [...imported, ...came]) if (!prints.has(file)) prints.set(file, print);
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
        // What can't be read now is looked at again in two seconds.
        () => look().catch(() => undefined),
      );
    },
    close() {
      closed = true;
      stopWatching();
      table.release();
    },
  };
}

/** Pure: what is to be told of two tables, given which handlers have changed files. */
export function describe(before: HandlerTable, after: HandlerTable, touched: (name: string) => boolean): Change[] {
  const changes: Change[] = [];
  for (const handler of after.handlers) {
    const old = before.get(handler.name);
    const renamed = old !== undefined && old.file !== handler.file;
    const mended = old?.error !== undefined && handler.error === undefined;
    if (old && !renamed && !mended && !touched(handler.name) && old.error?.message === handler.error?.message) continue;
    changes.push(
      handler.error ? { kind: "broken", handler } : { kind: "live", handler, isNew: old?.code === undefined },
    );
  }
  for (const handler of before.handlers) if (!after.get(handler.name)) changes.push({ kind: "gone", handler });
  const known = new Set(before.notHandlers.map(({ file, reason }) => `${file} ${reason}`));
  for (const { file, reason, quiet } of after.notHandlers)
    if (!quiet && !known.has(`${file} ${reason}`)) changes.push({ kind: "ignored", file, reason });
  if (after.schema !== undefined && after.schema !== before.schema) changes.push({ kind: "schema" });
  return [...changes, ...describeDead(before.dead, after.dead, touched)];
}

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

// A file system's clock goes in steps: on Linux, of up to four milliseconds.
const CLOCK_MS = 5;

type Fingerprints = Map<string, string>;

/** What tells one state of a file from another, for every file that counts. */
async function fingerprints(dir: string, others: Iterable<string>): Promise<Fingerprints> {
  const files = (await listFiles(dir))?.map((file) => resolve(dir, file)) ?? [];
  return printsOf([...files, ...others]);
}

/** Those that have changed after `since` are told from every other state: what has been read of them is not known. */
function printsOf(files: Iterable<string>, since = Infinity): Fingerprints {
  const prints: Fingerprints = new Map();
  for (const file of files) {
    const stat = statSync(file, { throwIfNoEntry: false });
    // `ctime` tells that it was moved away and back, or that it may be read now.
    if (stat)
      prints.set(file, stat.ctimeMs >= since ? "came" : `${stat.ino} ${stat.mtimeMs} ${stat.ctimeMs} ${stat.size}`);
  }
  return prints;
}

function differing(before: Fingerprints, after: Fingerprints): Set<string> {
  const files = new Set([...before.keys(), ...after.keys()]);
  return new Set([...files].filter((file) => before.get(file) !== after.get(file)));
}

/** The files that each handler is made of, by the handler's name; `_dead.ts` goes by its file. */
async function partsOf({ dir, handlers, dead }: HandlerTable): Promise<Map<string, Set<string>>> {
  const all = [...handlers, ...(dead ? [{ name: dead.file, file: dead.file }] : [])];
  const parts = all.map(async ({ name, file }) => [name, await filesOf(resolve(dir, file))] as const);
  return new Map(await Promise.all(parts));
}

function outside(dir: string, parts: Map<string, Set<string>>): string[] {
  const all = new Set([...parts.values()].flatMap((files) => [...files]));
  return [...all].filter((file) => !file.startsWith(`${resolve(dir)}/`));
}
