// A file that does not load, told so that a person can mend it: file, line, column, the source line.

import { readFile } from "node:fs/promises";

export interface LoadError {
  /** `user.created.ts:3:14`, or the file alone. */
  where: string;
  message: string;
  /** The line of code that it is about. */
  source?: string;
}

interface Position {
  file: string;
  line: number;
  column: number;
  lineText?: string;
}

/** Describes what an import threw: a syntax error, a missing import, or an error of the file's own top level. */
export async function describeLoadError(file: string, path: string, error: unknown): Promise<LoadError> {
  // Several mistakes in one file come as an AggregateError; the first one is where to begin.
  const first = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  const message = first instanceof Error || isMessage(first) ? first.message : String(first);
  const position = (first as { position?: Position | null }).position ?? positionInStack(path, first);
  if (!position) return { where: file, message };
  const source = position.lineText ?? (await lineOf(position));
  const name = position.file === path ? file : position.file;
  return { where: `${name}:${position.line}:${position.column}`, message, ...(source && { source: source.trim() }) };
}

function isMessage(value: unknown): value is { message: string } {
  return typeof (value as { message?: unknown } | null)?.message === "string";
}

function positionInStack(path: string, error: unknown): Position | undefined {
  const frames = (error instanceof Error ? (error.stack ?? "") : "").matchAll(/\(?(\/[^\s()]+):(\d+):(\d+)\)?/g);
  const positions = [...frames].map(([, file = "", line, column]) => ({
    file,
    line: Number(line),
    column: Number(column),
  }));
  // Bellhop's own check threw it: there is no line of theirs to show.
  if (positions[0]?.file.startsWith(import.meta.dir)) return undefined;
  return positions.find((position) => position.file === path) ?? positions[0];
}

async function lineOf({ file, line }: Position): Promise<string | undefined> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text.split("\n")[line - 1];
}
