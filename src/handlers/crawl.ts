// Lists the handlers folder: the handlers by name, and the files that are not handlers.

import { existsSync, realpathSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";

import { COMMAND } from "../command.ts";
import { EXIT_CONFIG, UserError } from "../errors.ts";
import { type HandlerName, type NotAHandler, readName } from "./names.ts";

export interface Folder {
  handlers: HandlerName[];
  notHandlers: NotAHandler[];
}

/** Reads the sorted names in a folder. A missing folder is listed in `notHandlers`, with its remedy. */
export async function crawl(dir: string): Promise<Folder> {
  const files = await listFiles(dir);
  if (files === undefined) {
    const reason = `is not a directory; create it with: ${COMMAND} new user.created`;
    return { handlers: [], notHandlers: [{ file: dir, reason, quiet: false }] };
  }
  const handlers = new Map<string, HandlerName>();
  const notHandlers: NotAHandler[] = [];
  for (const file of files) {
    const read = readName(file);
    if ("reason" in read) {
      notHandlers.push(read);
      continue;
    }
    // On macOS and Windows such names are one file. Which handlers run must not depend on the machine.
    const twin = handlers.get(read.name.toLowerCase());
    if (twin) notHandlers.push({ file, reason: `has the same name as ${twin.file}`, quiet: false });
    else handlers.set(read.name.toLowerCase(), read);
  }
  return { handlers: [...handlers.values()], notHandlers };
}

/** Throws a `UserError` when a server in production would have no handlers. */
export function requireFolder(dir: string): void {
  if (isFolder(dir)) return;
  if (existsSync(dir))
    throw new UserError(
      `HANDLERS_DIR is ${dir}, which is a file; expected the directory of your handlers`,
      EXIT_CONFIG,
    );
  throw new UserError(
    `The handlers directory ${dir} does not exist, so no event would be handled. Set HANDLERS_DIR to your\n` +
      `directory, or create it with: ${COMMAND} new user.created`,
    EXIT_CONFIG,
  );
}

/** The files of a folder and its subfolders, as relative paths with `/`; undefined when the folder does not exist. */
export async function listFiles(dir: string): Promise<string[] | undefined> {
  for (let tries = 1; isFolder(dir); tries += 1)
    try {
      return (await walk(dir, "", [realpathSync(dir)])).toSorted();
    } catch (error) {
      if (tries === TRIES) throw error;
    }
  return undefined;
}

/**
 * The path of a file or folder with its links resolved. Bun caches the target of a link, and would load the old files
 * after the link has changed.
 */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

// Reading fails when a subfolder disappears meanwhile. Read everything again, never return half a folder.
const TRIES = 5;

/** Links to folders are followed, unless they lead back to one of `parents`. */
async function walk(path: string, prefix: string, parents: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (!entry.isDirectory() && !(entry.isSymbolicLink() && isFolder(child))) files.push(prefix + entry.name);
    else if (entry.name !== "node_modules") {
      const real = realpathSync(child);
      if (!parents.includes(real)) files.push(...(await walk(child, `${prefix}${entry.name}/`, [...parents, real])));
    }
  }
  return files;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    // A link to itself.
    return false;
  }
}
