// Starts `bun start` in a process of its own. Disposing of it kills it with -9.

import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

import type { Subprocess } from "bun";

import { environment } from "../harness.ts";
import type { CampaignStore } from "./stores.ts";

export interface LaunchOptions {
  /** How far the server's clock is ahead of the right time. */
  clockOffsetMs?: number;
  /** Where its output goes: by default to a file in its folder. */
  output?: "file" | "pipe" | "/dev/full";
}

export type LaunchedServer = ReturnType<typeof launch>;

const CLOCK = join(import.meta.dir, "clock.ts");

export function launch(
  folder: string,
  port: number,
  { program, env }: Pick<CampaignStore, "program" | "env">,
  { clockOffsetMs = 0, output = "file" }: LaunchOptions = {},
) {
  const file = join(folder, "server.log");
  const fd = output === "pipe" ? undefined : openSync(output === "file" ? file : output, "w");
  const preload = clockOffsetMs === 0 ? [] : ["--preload", CLOCK];
  const child = Bun.spawn([process.execPath, ...preload, program, "start"], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      CRASH_CLOCK_OFFSET_MS: String(clockOffsetMs),
      // A log can only fail to be written when there are lines to write.
      ...environment(folder, { PORT: String(port), LOG_LEVEL: output === "file" ? "warn" : "debug", ...env }),
    },
    stdin: "ignore",
    stdout: fd ?? "pipe",
    stderr: fd ?? "pipe",
  });
  if (fd !== undefined) closeSync(fd);
  return {
    process: child,
    /** Everything that it printed to its file. */
    output: async () => (output === "file" ? await Bun.file(file).text() : ""),
    /** Closes the pipe that it prints to. */
    async closeOutput() {
      for (const stream of [child.stdout, child.stderr]) if (stream instanceof ReadableStream) await stream.cancel();
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

export function ended(child: Subprocess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
