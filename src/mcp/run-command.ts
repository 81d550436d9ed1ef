// Runs a command of Bellhop in a process of its own, so that a handler's code can't harm the server.

import { join } from "node:path";

/** Resolves with the command's output. */
export type RunCommand = (args: readonly string[]) => Promise<string>;

// A compiled executable has its sources in a virtual directory, and takes commands itself.
const SELF = /[\\/]\$bunfs[\\/]|[\\/]~BUN[\\/]/.test(import.meta.path)
  ? [process.execPath]
  : [process.execPath, join(import.meta.dir, "../main.ts")];
// Longer than a handler's default timeout of 30 s.
const MAX_MS = 90_000;
const MAX_OUTPUT = 50_000;

/** `dir`: the project's directory, with its `.env`. */
export function createRunCommand(dir: string): RunCommand {
  return async (args) => {
    const child = Bun.spawn([...SELF, ...args], {
      cwd: dir,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: MAX_MS,
    });
    const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await child.exited;
    return `${output}${errors}`.trim().slice(0, MAX_OUTPUT);
  };
}
