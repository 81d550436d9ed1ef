// Describes a file that does not load so that a person can fix it: file, line, column, the source line.

import { readFile } from "node:fs/promises";
import { isAbsolute, join, relative, resolve } from "node:path";

export interface LoadError {
  /** `user.created.ts:3:14`, or the file alone. */
  where: string;
  message: string;
  /** The line of code at that position. */
  source?: string;
}

/** `handlers/user.created.ts:3:14 does not load: …`, with the source line. */
export function loadErrorText(dir: string, { where, message, source }: LoadError): string {
  return `${isAbsolute(where) ? where : join(dir, where)} does not load: ${message}${source ? `\n\n    ${source}` : ""}`;
}

// A stack that begins in this folder comes from one of Bellhop's own checks.
const BELLHOP_DIR = `${resolve(import.meta.dir, "..")}/`;

interface Position {
  file: string;
  line: number;
  column: number;
  lineText?: string;
}

/** Describes what an import threw: a syntax error, a missing import, or an error of the file's own top level. */
export async function describeLoadError(file: string, path: string, error: unknown): Promise<LoadError> {
  // Several syntax errors in one file arrive as an AggregateError. The first one is the one to fix first.
  const first = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  const message = isMessage(first) ? first.message : `threw ${Bun.inspect(first)}`;
  const position = positionOf(first) ?? (await positionOfImport(first)) ?? positionInStack(path, first);
  if (!position) return { where: file, message };
  const source = position.lineText ?? (await lineOf(position));
  const name = position.file === path ? file : relative(path.slice(0, -file.length), position.file);
  return { where: `${name}:${position.line}:${position.column}`, message, ...(source && { source: source.trim() }) };
}

function isMessage(value: unknown): value is { message: string } {
  return typeof (value as { message?: unknown } | null)?.message === "string";
}

function positionOf(error: unknown): Position | undefined {
  return (error as { position?: Position | null } | null | undefined)?.position ?? undefined;
}

/** The error of a missing import has the specifier and the importing file, but not the line. */
async function positionOfImport(error: unknown): Promise<Position | undefined> {
  const { specifier, referrer } = (error ?? {}) as { specifier?: string; referrer?: string };
  if (!specifier || !referrer) return undefined;
  const lines = (await readFile(referrer, "utf8").catch(() => "")).split("\n");
  const index = lines.findIndex((line) => line.includes(specifier));
  const lineText = lines[index];
  return lineText === undefined
    ? undefined
    : { file: referrer, line: index + 1, column: lineText.indexOf(specifier), lineText };
}

function positionInStack(path: string, error: unknown): Position | undefined {
  // A path may contain spaces and parentheses.
  const frames = (error instanceof Error ? (error.stack ?? "") : "").matchAll(
    /(?:\(|at )(?:file:\/\/)?(\/.{1,1000}?):(\d+):(\d+)\)?$/gm,
  );
  const positions = [...frames].map(([, file = "", line, column]) => ({
    file,
    line: Number(line),
    column: Number(column),
  }));
  const [first] = positions;
  return (
    positions.find((position) => position.file === path) ?? (first?.file.startsWith(BELLHOP_DIR) ? undefined : first)
  );
}

async function lineOf({ file, line }: Position): Promise<string | undefined> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text.split("\n")[line - 1];
}
