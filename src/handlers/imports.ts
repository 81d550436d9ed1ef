// Finds the files that a handler consists of: the file itself and everything it imports from the project, at any depth.

import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";

const LOADERS: Record<string, "ts" | "tsx" | "js" | "jsx"> = {
  ".cjs": "js",
  ".cts": "ts",
  ".js": "js",
  ".jsx": "jsx",
  ".mjs": "js",
  ".mts": "ts",
  ".ts": "ts",
  ".tsx": "tsx",
};

/** The absolute paths, including the file itself, and every path where a missing file would be looked up. */
export async function filesOf(path: string, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(path)) return seen;
  seen.add(path);
  const loader = LOADERS[extname(path)];
  if (!loader) return seen;
  for (const imported of await importsOf(path, loader)) {
    const file = resolved(imported, dirname(path));
    if (file) await filesOf(file, seen);
    else for (const place of missingPlaces(imported, dirname(path))) seen.add(place);
  }
  return seen;
}

async function importsOf(path: string, loader: "ts" | "tsx" | "js" | "jsx"): Promise<string[]> {
  try {
    const found = new Bun.Transpiler({ loader }).scanImports(await readFile(path, "utf8"));
    return found.map(({ path: imported }) => imported);
  } catch {
    return [];
  }
}

// Bellhop itself is provided by the server. Without a node_modules folder, Bun would look it up in the registry, which
// is slow.
const OWN = /^bellhop(\/|$)/;

/** Files of the project only: an installed package changes by an install, after which the server is restarted. */
function resolved(imported: string, from: string): string | undefined {
  const file = tryResolve(imported, from);
  return file?.startsWith("/") && !file.includes("/node_modules/") ? file : undefined;
}

function tryResolve(imported: string, from: string): string | undefined {
  if (OWN.test(imported)) return undefined;
  try {
    return Bun.resolveSync(imported, from);
  } catch {
    return undefined;
  }
}

/** The paths where a missing file or package would appear; none when it exists. */
function missingPlaces(imported: string, from: string): string[] {
  if (/^\.\.?\//.test(imported)) return placesOf(resolve(from, imported));
  if (OWN.test(imported) || tryResolve(imported, from) !== undefined) return [];
  const [name] = /^(?:@[^/]+\/)?[^/]+/.exec(imported) ?? [imported];
  const folders = ancestorsOf(from).map((folder) => `${folder}/node_modules/${name}`);
  // An install creates the folder first and copies the files later, so follow both.
  return folders.flatMap((folder) => [folder, `${folder}/package.json`]);
}

function ancestorsOf(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [] : [folder, ...ancestorsOf(parent)];
}

/** The paths where an import without an extension is looked up: its file may reappear. */
function placesOf(path: string): string[] {
  return [path, ...Object.keys(LOADERS).flatMap((extension) => [`${path}${extension}`, `${path}/index${extension}`])];
}

/**
 * Bun caches folder listings, and would resolve to a deleted `user.created.ts` although `user.created.js` has replaced
 * it. A failed lookup in a folder makes Bun read the folder again.
 */
export function forget(files: Iterable<string>): void {
  const folders = [...new Set([...files].flatMap(foldersOf))].toSorted();
  // Twice, since resolution in a folder depends on the cached listings of its parents and packages.
  for (const folder of [...folders, ...folders])
    try {
      Bun.resolveSync("./no-such-file", folder);
    } catch {
      // The lookup is meant to fail.
    }
}

/** The file's folder; for a package its own folders, and all up to the one that contains `node_modules`. */
function foldersOf(file: string): string[] {
  const folder = dirname(file);
  if (!file.includes("/node_modules/") && basename(file) !== "node_modules") return [folder];
  const own = basename(file) === "package.json" ? [] : [file, ...foldersIn(file)];
  return [...own, folder, ...foldersOf(folder)];
}

/** The folders of a package that was just installed. */
function foldersIn(path: string): string[] {
  if (basename(path) === "node_modules" || basename(path).startsWith("@")) return [];
  try {
    const entries = readdirSync(path, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  } catch {
    return [];
  }
}
