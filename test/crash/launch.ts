// Starts `bun start` as a child process. Disposing kills it with SIGKILL.

import { closeSync, openSync } from "node:fs";
import { join, resolve } from "node:path";

import type { Subprocess } from "bun";

import { environment } from "../harness.ts";
import type { CampaignStore } from "./stores.ts";

const MAIN = resolve(import.meta.dir, "../../src/main.ts");

export interface LaunchOptions {
  /** How far the server's clock is ahead of the right time. */
  clockOffsetMs?: number;
  /** Where stdout and stderr go. Default: a file in the folder. */
  output?: "file" | "pipe" | "/dev/full";
}

export type LaunchedServer = ReturnType<typeof launch>;

const CLOCK = join(import.meta.dir, "clock.ts");

export function launch(
  folder: string,
  port: number,
  { env }: Pick<CampaignStore, "env">,
  { clockOffsetMs = 0, output = "file" }: LaunchOptions = {},
) {
  const file = join(folder, "server.log");
  const fd = output === "pipe" ? undefined : openSync(output === "file" ? file : output, "w");
  const preload = clockOffsetMs === 0 ? [] : ["--preload", CLOCK];
  const child = Bun.spawn([process.execPath, ...preload, MAIN, "start"], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      CRASH_CLOCK_OFFSET_MS: String(clockOffsetMs),
      // A broken output is only noticed when there are lines to write.
      ...environment(folder, { PORT: String(port), LOG_LEVEL: output === "file" ? "warn" : "debug", ...env }),
    },
    stdin: "ignore",
    stdout: fd ?? "pipe",
    stderr: fd ?? "pipe",
  });
  if (fd !== undefined) closeSync(fd);
  return {
    process: child,
    /** The contents of the output file. */
    output: async () => (output === "file" ? await Bun.file(file).text() : ""),
    /** Closes the read ends of its output pipes. */
    async closeOutput() {
      for (const stream of [child.stdout, child.stderr]) if (stream instanceof ReadableStream) await stream.cancel();
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

export function hasExited(child: Subprocess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
