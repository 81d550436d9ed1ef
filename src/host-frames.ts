// Recognizes Bellhop's own frames in stacks: in an error of a handler they are always the same and never the cause.

import { resolve } from "node:path";

/** The directory of Bellhop's source, with a slash at its end. */
export const SOURCE = `${resolve(import.meta.dir)}/`;

const PARTS = [SOURCE, "node:async_hooks", "(unknown)"];

export function isHostFrame(line: string): boolean {
  return /^\s+at /.test(line) && PARTS.some((part) => line.includes(part));
}

/** A value for a handler's log. The stacks of errors in it have only frames of the user's code. */
export function inspectWithoutHost(value: unknown): string {
  const text = Bun.inspect(value);
  if (!text.includes(SOURCE)) return text;
  return text
    .split("\n")
    .filter((line) => !isHostFrame(line))
    .join("\n");
}
