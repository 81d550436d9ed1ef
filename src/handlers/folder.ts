// The folder of handlers while it lives: whatever happens to it, the table equals it, and each change is told once.
// A reload makes a whole new table and swaps it in at once; runs in flight end on the version that they began with.

import { statSync } from "node:fs";
import { resolve } from "node:path";

import { listFiles } from "./crawl.ts";
import { filesOf } from "./imports.ts";
import { type Handler, type HandlerTable, loadHandlers } from "./loader.ts";
import type { OnLateError } from "./version.ts";
import { watchFiles } from "./watch.ts";

/** What happened to one file: for a person, in one line, and then what the line can't hold. */
export type Change =
  | { kind: "live"; handler: Handler; isNew: boolean }
  | { kind: "broken"; handler: Handler }
  | { kind: "gone"; handler: Handler }
  | { kind: "ignored"; file: string; reason: string };

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
  let prints = await fingerprints(dir, []);
  let table = await loadHandlers(dir, onError);
  let parts = await partsOf(table);
  let onChanges: (changes: Change[]) => void = () => undefined;
  let stopWatching = () => {};
  let looking: Promise<void> | undefined;
  let again = false;

  async function lookOnce() {
    const now = await fingerprints(dir, outside(dir, parts));
    const changed = differing(prints, now);
    if (changed.size === 0) return;
    // Taken before the load: what changes meanwhile is found by the next look.
    prints = now;
    const before = table;
    const beforeParts = parts;
    table = await loadHandlers(dir, onError, { previous: before });
    before.release();
    parts = await partsOf(table);
    const touched = (name: string) =>
      [...(parts.get(name) ?? []), ...(beforeParts.get(name) ?? [])].some((file) => changed.has(file));
    // A file that is imported since now has to be known, or its first change would be missed.
    for (const [file, print] of await fingerprints(dir, outside(dir, parts)))
      if (!prints.has(file)) prints.set(file, print);
    onChanges(describe(before, table, touched));
  }

  async function lookUntilCalm() {
    do {
      again = false;
      await lookOnce();
    } while (again);
    looking = undefined;
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
        () => void look(),
      );
    },
    close() {
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
    changes.push(handler.error ? { kind: "broken", handler } : { kind: "live", handler, isNew: old === undefined });
  }
  for (const handler of before.handlers) if (!after.get(handler.name)) changes.push({ kind: "gone", handler });
  const known = new Set(before.notHandlers.map(({ file, reason }) => `${file} ${reason}`));
  for (const { file, reason, quiet } of after.notHandlers)
    if (!quiet && !known.has(`${file} ${reason}`)) changes.push({ kind: "ignored", file, reason });
  return changes;
}

type Fingerprints = Map<string, string>;

/** What tells one state of a file from another, for every file that counts. */
async function fingerprints(dir: string, others: Iterable<string>): Promise<Fingerprints> {
  const files = (await listFiles(dir))?.map((file) => resolve(dir, file)) ?? [];
  const prints: Fingerprints = new Map();
  for (const file of [...files, ...others]) {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat) prints.set(file, `${stat.ino} ${stat.mtimeMs} ${stat.size}`);
  }
  return prints;
}

function differing(before: Fingerprints, after: Fingerprints): Set<string> {
  const files = new Set([...before.keys(), ...after.keys()]);
  return new Set([...files].filter((file) => before.get(file) !== after.get(file)));
}

/** The files that each handler is made of, by the handler's name. */
async function partsOf(table: HandlerTable): Promise<Map<string, Set<string>>> {
  const parts = table.handlers.map(async ({ name, file }) => [name, await filesOf(resolve(table.dir, file))] as const);
  return new Map(await Promise.all(parts));
}

function outside(dir: string, parts: Map<string, Set<string>>): string[] {
  const all = new Set([...parts.values()].flatMap((files) => [...files]));
  return [...all].filter((file) => !file.startsWith(`${resolve(dir)}/`));
}
