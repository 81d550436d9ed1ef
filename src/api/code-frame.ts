// Finds where an error was thrown, with the lines around it: the first stack frame in the user's code. Reads only source
// files below the given folders, because the text of an error is not trusted: parts of it may come from the event.

import { realpath, stat } from "node:fs/promises";
import { basename, extname, join, relative, resolve, sep } from "node:path";

import type { ErrorRecord } from "../inbox/inbox.ts";
import type { CodeFrame } from "./types.ts";

export interface CodeFrameOptions {
  /** Paths are shown relative to this folder. */
  projectDir: string;
  handlersDir: string;
  /** Whether a file does not load, so that an earlier version of its code runs. */
  failsToLoad?: (path: string) => boolean;
}

export type ReadFrame = (error: ErrorRecord, startedAt: number) => Promise<CodeFrame | null>;

const LINES_AROUND = 3;
const MAX_FILE_BYTES = 1_000_000;
const MAX_LINE_CHARACTERS = 240;
// An error from deep inside a library has the user's frame further down.
const MAX_FRAMES = 100;
// Only source files: never `.env`, keys or data.
const SOURCE_EXTENSIONS = new Set([".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"]);
const BELLHOP_SOURCE = resolve(import.meta.dir, "..");

export function createCodeFrames(options: CodeFrameOptions): ReadFrame {
  const { projectDir, handlersDir, failsToLoad = () => false } = options;
  const project = resolve(projectDir);
  const handlers = resolve(project, handlersDir);
  const roots = [project, handlers];
  let realRoots: Promise<string[]> | undefined;

  /** The real path of one of the user's source files; undefined when a link leads out of the folders. */
  async function ownFile(path: string): Promise<string | undefined> {
    if (!isSource(path) || !roots.some((root) => isWithin(root, path))) return undefined;
    realRoots ??= Promise.all(roots.map((root) => realpath(root).catch(() => root)));
    const [real, within] = await Promise.all([realpath(path).catch(() => ""), realRoots]);
    return isSource(real) && within.some((root) => isWithin(root, real)) ? real : undefined;
  }

  function displayPath(path: string): string {
    return isWithin(project, path) ? relative(project, path) : join(basename(handlers), relative(handlers, path));
  }

  return async ({ name, message, stack = "", causes = [] }, startedAt) => {
    const ofCauses = causes.flatMap(({ at = "" }) => positionsIn(`    at ${at}`, "", ""));
    for (const { file, line, column } of [...positionsIn(stack, name, message), ...ofCauses]) {
      const own = await ownFile(file);
      const found = own && (await readLines(own, line));
      if (!found) continue;
      return {
        file: displayPath(file),
        line,
        column,
        source: found.source,
        ...((found.savedAt > startedAt || failsToLoad(own)) && { changed: true }),
      };
    }
    return null;
  };
}

/** The positions of a stack's frames. The message is left out, since it may look like a frame. */
export function positionsIn(stack: string, name: string, message: string) {
  const at = message === "" ? -1 : stack.slice(0, name.length + message.length + 100).indexOf(message);
  const frames = at < 0 ? lastFrames(stack) : stack.slice(at + message.length);
  return frames
    .split("\n")
    .slice(0, MAX_FRAMES)
    .flatMap((line) => {
      const [, place = "", row, column] = /^(\s+at .{1,2000}):(\d+):(\d+)\)?\s*$/.exec(line) ?? [];
      const file = pathIn(place);
      return file === undefined ? [] : [{ file: resolve(file), line: Number(row), column: Number(column) }];
    });
}

/** The path in `  at async name (/a/b (c)/x.ts` or `  at /a/b (c)/x.ts`: the path may contain blanks and brackets. */
function pathIn(place: string): string | undefined {
  const text = place.replace(/^\s+at (?:async )?/, "");
  const starts = text.startsWith("/") || text.startsWith("file:///") ? 0 : text.search(/\((?:file:\/\/)?\//) + 1;
  const path = text.slice(starts).replace(/^file:\/\//, "");
  return path.startsWith("/") ? path : undefined;
}

/** Where the message ends is unknown here: only the frames at the very end are certainly not part of it. */
function lastFrames(stack: string): string {
  const lines = stack.trimEnd().split("\n");
  const before = lines.findLastIndex((line) => !/^\s+at /.test(line));
  return lines.slice(before + 1).join("\n");
}

function isSource(path: string): boolean {
  const parts = path.split(sep);
  if (parts.includes("node_modules") || parts.some((part) => part.startsWith(".env"))) return false;
  return SOURCE_EXTENSIONS.has(extname(path)) && !isWithin(BELLHOP_SOURCE, path);
}

function isWithin(root: string, path: string): boolean {
  return path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`);
}

async function readLines(file: string, line: number) {
  try {
    const { size, mtimeMs: savedAt } = await stat(file);
    if (size > MAX_FILE_BYTES) return undefined;
    const lines = (await Bun.file(file).text()).split("\n");
    if (line < 1 || line > lines.length) return undefined;
    const first = Math.max(1, line - LINES_AROUND);
    const source = lines
      .slice(first - 1, line + LINES_AROUND)
      .map((text, index) => ({ number: first + index, text: text.replace(/\r$/, "").slice(0, MAX_LINE_CHARACTERS) }));
    return { source, savedAt };
  } catch {
    return undefined;
  }
}
