// A machine as a new user has it: an empty HOME, and no Bun in PATH but the one that npm installs.

import { mkdir, readdir, realpath, symlink } from "node:fs/promises";
import { basename, join } from "node:path";

import { temporaryFolder } from "../temporary-folder.ts";

export interface Machine extends AsyncDisposable {
  /** A directory for projects. */
  path: string;
  /** Runs a shell command until it ends, and returns its output. Throws, with the output, when it fails. */
  run(line: string, options: RunOptions): Promise<string>;
  /** Starts a server, which is stopped with everything that it has started. */
  start(line: string, options: RunOptions): Server;
}

export interface RunOptions {
  cwd: string;
  env?: Record<string, string>;
  /** Returns the output of a command that fails. */
  mayFail?: boolean;
}

export interface Server extends AsyncDisposable {
  output(): string;
  /** Why it has ended, or undefined while it runs. */
  ended(): string | undefined;
}

// A slow machine downloads and builds for minutes; a command that hangs must end the walk.
const COMMAND_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 10_000;

export async function openMachine(): Promise<Machine> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const [home, bin, npm] = ["home", "bin", "npm"].map((name) => join(folder.path, name)) as [string, string, string];
  for (const path of [home, bin, npm]) await mkdir(path);
  await linkCommands(bin);
  const env = {
    ...inherited(),
    HOME: home,
    PATH: `${join(npm, "bin")}:${bin}`,
    npm_config_prefix: npm,
    // Measured is the installation, not the questions that npm asks its registry besides.
    npm_config_audit: "false",
    npm_config_fund: "false",
    CI: "true",
    NEXT_TELEMETRY_DISABLED: "1",
  };
  const spawn = (line: string, { cwd, env: more }: RunOptions) =>
    Bun.spawn(["sh", "-c", line], {
      cwd,
      env: { ...env, ...more },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      // Its own process group, so that it is stopped with its children.
      detached: true,
    });
  const everything = opened.move();
  return {
    path: folder.path,
    async run(line, options) {
      const child = spawn(line, options);
      const output = collect(child);
      const timer = setTimeout(() => killGroup(child.pid, "SIGKILL"), COMMAND_TIMEOUT_MS);
      const exitCode = await child.exited;
      clearTimeout(timer);
      await output.done;
      if (exitCode !== 0 && !options.mayFail)
        throw new Error(`${line} ended with ${exitCode ?? child.signalCode}:\n${output.text()}`);
      return output.text();
    },
    start(line, options) {
      const child = spawn(line, options);
      const output = collect(child);
      return {
        output: output.text,
        ended: () => (child.exitCode ?? child.signalCode)?.toString(),
        async [Symbol.asyncDispose]() {
          killGroup(child.pid, "SIGTERM");
          await Promise.race([child.exited, Bun.sleep(STOP_TIMEOUT_MS)]);
          killGroup(child.pid, "SIGKILL");
          await child.exited;
        },
      };
    },
    [Symbol.asyncDispose]: () => everything.disposeAsync(),
  };
}

/** Links to every command of this machine, except Bun's. */
async function linkCommands(bin: string) {
  const linked = new Set<string>();
  for (const directory of (process.env.PATH ?? "").split(":"))
    for (const name of await readdir(directory).catch(() => [])) {
      if (linked.has(name) || name === "bun" || name === "bunx") continue;
      // A script finds its modules beside the file that a link leads to.
      const target = await realpath(join(directory, name)).catch(() => undefined);
      if (!target || basename(target).startsWith("bun")) continue;
      linked.add(name);
      await symlink(target, join(bin, name));
    }
}

/** The variables with which this machine reaches a registry: certificates, a proxy, and npm's configuration. */
function inherited(): Record<string, string> {
  const names = Object.keys(process.env).filter((name) =>
    /ssl|cert|_ca_|_proxy$|^npm_config_registry$|^lang$/i.test(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name] ?? ""]));
}

function killGroup(pid: number, signal: NodeJS.Signals) {
  try {
    process.kill(-pid, signal);
  } catch {
    // All of them have ended.
  }
}

function collect(child: { stdout: ReadableStream<Uint8Array>; stderr: ReadableStream<Uint8Array> }) {
  let text = "";
  const drain = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  return { text: () => text, done: Promise.all([drain(child.stdout), drain(child.stderr)]) };
}
