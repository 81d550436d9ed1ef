// Where an error was thrown, with the code around it: the first frame of its stack that is the user's own.
// It reads source files below the folders that it was given, and nothing else: an error's text is not to be trusted,
// since part of it may come from whoever sent the event.

import { realpath, stat } from "node:fs/promises";
import { basename, extname, join, relative, resolve, sep } from "node:path";

import type { CodeFrame } from "./types.ts";

export interface FrameOptions {
  /** Paths in frames are told from here. */
  projectDir: string;
  handlersDir: string;
}

interface ThrownError {
  name: string;
  message: string;
  stack?: string;
}

export type ReadFrame = (error: ThrownError, startedAt: number) => Promise<CodeFrame | null>;

const AROUND = 3;
const LONGEST_FILE = 1_000_000;
const LONGEST_LINE = 240;
// A stack that is deep in a library has the user's frame further down.
const MOST_FRAMES = 100;
// No `.env`, no key, no data: only what can be thrown from.
const SOURCE = new Set([".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"]);
const OURS = resolve(import.meta.dir, "..");

export function createFrames({ projectDir, handlersDir }: FrameOptions): ReadFrame {
  const project = resolve(projectDir);
  const handlers = resolve(project, handlersDir);
  const roots = [project, handlers];
  let realRoots: Promise<string[]> | undefined;

  /** Where the file really is, when that is among the user's own: links lead nowhere else. */
  async function ownFile(path: string): Promise<string | undefined> {
    if (!isSource(path) || !roots.some((root) => isWithin(root, path))) return undefined;
    realRoots ??= Promise.all(roots.map((root) => realpath(root).catch(() => root)));
    const [real, within] = await Promise.all([realpath(path).catch(() => ""), realRoots]);
    return isSource(real) && within.some((root) => isWithin(root, real)) ? real : undefined;
  }

  /** As a person would call it. */
  function nameOf(path: string): string {
    return isWithin(project, path) ? relative(project, path) : join(basename(handlers), relative(handlers, path));
  }

  return async ({ name, message, stack = "" }, startedAt) => {
    for (const { file, line, column } of positionsIn(stack, name, message)) {
      const own = await ownFile(file);
      const found = own && (await readLines(own, line));
      if (!found) continue;
      return {
        file: nameOf(file),
        line,
        column,
        source: found.source,
        ...(found.savedAt > startedAt && { changed: true }),
      };
    }
    return null;
  };
}

/** Frames of a stack, without what the message says: it may look like a frame. */
export function positionsIn(stack: string, name: string, message: string) {
  const at = message === "" ? -1 : stack.slice(0, name.length + message.length + 100).indexOf(message);
  const frames = at < 0 ? lastFrames(stack) : stack.slice(at + message.length);
  return frames
    .split("\n")
    .slice(0, MOST_FRAMES)
    .flatMap((line) => {
      const [, file, row, column] = /^\s+at (?:.*\()?(?:file:\/\/)?(\/[^()]+):(\d+):(\d+)\)?\s*$/.exec(line) ?? [];
      return file === undefined ? [] : [{ file: resolve(file), line: Number(row), column: Number(column) }];
    });
}

/** What the message is, nobody knows: only the frames at the end are certain to be none of it. */
function lastFrames(stack: string): string {
  const lines = stack.trimEnd().split("\n");
  const before = lines.findLastIndex((line) => !/^\s+at /.test(line));
  return lines.slice(before + 1).join("\n");
}

function isSource(path: string): boolean {
  const parts = path.split(sep);
  if (parts.includes("node_modules") || parts.some((part) => part.startsWith(".env"))) return false;
  return SOURCE.has(extname(path)) && !isWithin(OURS, path);
}

function isWithin(root: string, path: string): boolean {
  return path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`);
}

async function readLines(file: string, line: number) {
  try {
    const { size, mtimeMs: savedAt } = await stat(file);
    if (size > LONGEST_FILE) return undefined;
    const lines = (await Bun.file(file).text()).split("\n");
    if (line < 1 || line > lines.length) return undefined;
    const first = Math.max(1, line - AROUND);
    const source = lines
      .slice(first - 1, line + AROUND)
      .map((text, index) => ({ number: first + index, text: text.replace(/\r$/, "").slice(0, LONGEST_LINE) }));
    return { source, savedAt };
  } catch {
    return undefined;
  }
}
