// How a person starts a command of this installation: every message that names a command begins with it.
// Also part of the inspector's page, by errors.ts, so it must not need anything that a browser lacks.

/** `bun`, as in `bun send user.created`; `bunx bellhop`, as in `bunx bellhop send user.created`. */
export const COMMAND = commandPrefix(import.meta.dir ?? "", globalThis.process?.execPath ?? "");

/**
 * In a clone, package.json has a script for each command. A project that has installed Bellhop has its `bin`, and the
 * binary of `bun build --compile` is itself the command. `dir`: the directory of Bellhop's source.
 */
export function commandPrefix(dir: string, executable: string): string {
  // Bun's root for the files inside of a binary.
  if (/^(?:\/\$bunfs|[A-Z]:[\\/]~BUN)\b/.test(dir)) return executable.replace(/^.*[\\/]/, "");
  return /[\\/]node_modules[\\/]/.test(dir) ? "bunx bellhop" : "bun";
}
