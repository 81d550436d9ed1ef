// What is kept of what a handler threw: bounded, and of any shape.

import { resolve } from "node:path";

import type { AttemptRecord } from "../inbox/inbox.ts";

export type ErrorRecord = NonNullable<AttemptRecord["error"]>;

/** A handler can throw anything, also what throws when it is looked at: that must not leave its run without an end. */
export function readError(thrown: unknown): { thrown: unknown; error: ErrorRecord } {
  try {
    return { thrown, error: describeError(thrown) };
  } catch {
    return { thrown: undefined, error: { name: "Thrown", message: "something that throws when it is looked at" } };
  }
}

/** For what nobody caught: looking at it may throw, and there that would end the process. */
export function sayError(thrown: unknown): string {
  const { name, message, stack } = readError(thrown).error;
  return stack ?? `${name}: ${message}`;
}

function describeError(thrown: unknown): ErrorRecord {
  if (!(thrown instanceof Error)) return { name: "Thrown", message: Bun.inspect(thrown).slice(0, 10_000) };
  // They need not be text.
  const { name, message, stack } = thrown as Record<keyof ErrorRecord, unknown>;
  return {
    name: String(name).slice(0, 200),
    message: String(message).slice(0, 10_000),
    ...(typeof stack === "string" && { stack: withoutCaller(stack.slice(0, 20_000)) }),
  };
}

// What called the handler is the same for each, and nobody's mistake; what the handler called may be ours as well.
const OURS = [`${resolve(import.meta.dir, "..")}/`, "node:async_hooks", "(unknown)"];

function withoutCaller(stack: string): string {
  const lines = stack.split("\n");
  const called = lines.findIndex((line) => line.includes(`at callHandler (${import.meta.dir}`));
  const until = called < 0 ? lines.length : called;
  const isOurs = (line: string) => /^\s+at /.test(line) && OURS.some((part) => line.includes(part));
  return lines.slice(0, lines.findLastIndex((line, at) => at < until && !isOurs(line)) + 1).join("\n");
}
