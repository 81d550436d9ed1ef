// What lies in the folder: its handlers by name, and the files that are none.

import { type Dirent, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { resolve } from "node:path";

import { type HandlerName, type NotAHandler, readName } from "./names.ts";

export interface Folder {
  handlers: HandlerName[];
  notHandlers: NotAHandler[];
}

/** Reads the names in a folder, in the order of the alphabet. A folder that is not there is empty, and says so. */
export async function crawl(dir: string): Promise<Folder> {
  const files = await listFiles(dir);
  if (files === undefined) {
    const reason = "is no folder; make it with: bun new user.created";
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
    // macOS and Windows hold such names for one file: what runs must not depend on the machine.
    const twin = handlers.get(read.name.toLowerCase());
    if (twin) notHandlers.push({ file, reason: `has the same name as ${twin.file}`, quiet: false });
    else handlers.set(read.name.toLowerCase(), read);
  }
  return { handlers: [...handlers.values()], notHandlers };
}

/** The files of a folder and its sub-folders, relative and with `/`; undefined when there is no folder. */
export async function listFiles(dir: string): Promise<string[] | undefined> {
  const entries = await readEntries(dir);
  if (entries === undefined) return undefined;
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) =>
      resolve(entry.parentPath, entry.name)
        .slice(resolve(dir).length + 1)
        .replaceAll("\\", "/"),
    )
    .filter((file) => !file.includes("node_modules/"))
    .toSorted();
}

// A sub-folder that goes away while it is read fails the whole: it is read again, so that nobody sees half a folder.
const TRIES = 5;

async function readEntries(dir: string): Promise<Dirent[] | undefined> {
  for (let tries = 1; statSync(dir, { throwIfNoEntry: false })?.isDirectory(); tries += 1)
    try {
      return await readdir(dir, { recursive: true, withFileTypes: true });
    } catch (error) {
      if (tries === TRIES) throw error;
    }
  return undefined;
}
