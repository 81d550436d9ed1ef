// Which files a handler is made of: itself and what it imports from the project, however deep.

import { readFile } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";

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

/** The absolute paths, the file itself among them, and the places where a file that is missing would be looked for. */
export async function filesOf(path: string, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(path)) return seen;
  seen.add(path);
  const loader = LOADERS[extname(path)];
  if (!loader) return seen;
  for (const imported of await importsOf(path, loader)) {
    const file = resolved(imported, dirname(path));
    if (file) await filesOf(file, seen);
    else if (/^\.\.?\//.test(imported)) for (const place of placesOf(resolve(dirname(path), imported))) seen.add(place);
  }
  return seen;
}

async function importsOf(path: string, loader: "ts" | "tsx" | "js" | "jsx"): Promise<string[]> {
  try {
    const found = new Bun.Transpiler({ loader }).scanImports(await readFile(path, "utf8"));
    return found.map((each) => each.path);
  } catch {
    return [];
  }
}

// Ours, and in no folder: where there is no node_modules either, Bun would ask the registry for it, which takes its time.
const OWN = /^bellhop(\/|$)/;

/** Only what belongs to the project: a package changes by an install, and then the server is started again. */
function resolved(imported: string, from: string): string | undefined {
  if (OWN.test(imported)) return undefined;
  try {
    const file = Bun.resolveSync(imported, from);
    return file.startsWith("/") && !file.includes("/node_modules/") ? file : undefined;
  } catch {
    return undefined;
  }
}

/** Where an import without an extension is looked for: its file may come back. */
function placesOf(path: string): string[] {
  return [path, ...Object.keys(LOADERS).flatMap((extension) => [`${path}${extension}`, `${path}/index${extension}`])];
}

/**
 * Bun remembers what lies in a folder, and takes a new `user.created.js` for the `.ts` that was there before. It reads
 * the folder again when something is not found there.
 */
export function forgetFolder(folder: string): void {
  try {
    Bun.resolveSync("./no-such-file", folder);
  } catch {
    // As expected.
  }
}
