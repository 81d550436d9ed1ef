// What is kept of what a handler threw: bounded, and of any shape.

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

// The way from `callHandler` to the handler is the same for each, and nobody's mistake.
const OURS = [import.meta.dir, "node:async_hooks", "(unknown)"];

function withoutCaller(stack: string): string {
  const lines = stack.split("\n");
  const called = lines.findIndex((line) => line.includes(`at callHandler (${import.meta.dir}`));
  if (called < 0) return stack;
  const last = lines.findLastIndex((line, at) => at < called && !OURS.some((part) => line.includes(part)));
  return lines.slice(0, last + 1).join("\n");
}
