// How a person starts a command of this installation: every message that names a command begins with it.
// Also part of the inspector's page, by errors.ts, so it must not need anything that a browser lacks.

/** `bun`, as in `bun send user.created`; `bunx bellhop`, as in `bunx bellhop send user.created`. */
export const COMMAND = commandPrefix(import.meta.url, globalThis.process?.execPath ?? "");

/**
 * In a clone, package.json has a script for each command. A project that has installed Bellhop has its `bin`, and the
 * binary of `bun build --compile` is itself the command. `url`: of a file of Bellhop.
 */
export function commandPrefix(url: string, executable: string): string {
  // Bun's root for the files inside of a binary.
  if (/^file:\/\/\/(?:\$bunfs|[A-Z]:\/~BUN)\//.test(url)) return executable.replace(/^.*[\\/]/, "");
  return url.includes("/node_modules/") ? "bunx bellhop" : "bun";
}
