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

function describeError(thrown: unknown): ErrorRecord {
  if (!(thrown instanceof Error)) return { name: "Thrown", message: Bun.inspect(thrown).slice(0, 10_000) };
  // They need not be text.
  const { name, message, stack } = thrown as Record<keyof ErrorRecord, unknown>;
  return {
    name: String(name).slice(0, 200),
    message: String(message).slice(0, 10_000),
    ...(typeof stack === "string" && { stack: stack.slice(0, 20_000) }),
  };
}
