// Starts and stops what is measured, each as a process of its own that prints to nowhere: what is read from a pipe would
// cost the generator. Bellhop is `bun start` as people run it, with what it logs by default.

import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

import type { Environment } from "../../src/config.ts";
import { environment, type Files, freePort, SECRET, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { OPEN_RUNS } from "../inbox/every-run.ts";
import { installPeer, type Peer, runtimeOf } from "./peers.ts";

export const ROOT = resolve(import.meta.dir, "../..");

export interface Running extends AsyncDisposable {
  port: number;
  pid: number;
  /** Where it keeps its files. */
  folder: string;
  /** From the start of the process until it answered. */
  startMs: number;
  /** Resolves when all that was accepted is handled. */
  settle(timeoutMs?: number): Promise<void>;
  /** Asks it to stop, and waits for it. Its files stay. */
  stop(): Promise<void>;
}

export const HANDLER: Files = {
  "user.created.ts": `import { on } from "bellhop";\nexport default on("user.created", () => {});\n`,
};

/** Writes a row for each run. Nothing keeps two apart: one too many would show. */
export const DB_HANDLER: Files = {
  "_schema.sql": "create table if not exists handled (id text not null, user_id text not null);",
  "user.created.ts": `import { on } from "bellhop";
export default on("user.created", async ({ data, db, delivery }) => {
  await db\`insert into handled (id, user_id) values (\${delivery.id}, \${data.id})\`;
});
`,
};

export interface BellhopOptions {
  mode?: "start" | "dev";
  env?: Environment;
  /** An existing one; it is not removed. Default: a new one, which is. */
  folder?: string;
}

/** Bellhop with these handlers. */
export async function startBellhop(files: Files, { mode = "start", env, folder }: BellhopOptions = {}) {
  await using opened = new AsyncDisposableStack();
  const path = folder ?? opened.use(await temporaryFolder()).path;
  await mkdir(join(path, "handlers"), { recursive: true });
  await writeHandlers(path, files);
  const port = await freePort();
  const server = await spawn([process.execPath, join(ROOT, "src/main.ts"), mode], {
    cwd: path,
    env: { PATH: process.env.PATH, HOME: path, ...environment(path, { PORT: String(port), ...env }) },
    port,
    ready: "/health",
  });
  opened.defer(server.stop);
  const settle = (timeoutMs = 120_000) => settled(join(path, "data/inbox.db"), timeoutMs);
  return running({ ...server, port, folder: path, settle }, opened.move());
}

/** The limit, see `limit.ts`. */
export async function startLimit(): Promise<Running> {
  return startScript("limit.ts");
}

/** The generator's ceiling, see `ceiling.ts`. */
export async function startCeiling(requestBytes: number): Promise<Running> {
  return startScript("ceiling.ts", { REQUEST_BYTES: String(requestBytes) });
}

export async function startPeer(peer: Peer): Promise<Running> {
  await using opened = new AsyncDisposableStack();
  const folder = await installPeer(peer);
  const port = await freePort();
  const server = await spawn([runtimeOf(peer), ...peer.start(port)], { cwd: folder, env: {}, port });
  opened.defer(server.stop);
  return running({ ...server, port, folder }, opened.move());
}

async function startScript(name: string, env: Environment = {}): Promise<Running> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const port = await freePort();
  const script = [process.execPath, join(import.meta.dir, name)];
  const server = await spawn(script, { cwd: path, env: { DATA_DIR: path, ...env }, port });
  opened.defer(server.stop);
  return running({ ...server, port, folder: path }, opened.move());
}

function running(
  server: Omit<Running, "settle" | typeof Symbol.asyncDispose> & Partial<Pick<Running, "settle">>,
  opened: AsyncDisposableStack,
): Running {
  const settle = async () => {};
  return { settle, ...server, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

interface SpawnOptions {
  cwd: string;
  env: Environment;
  port: number;
  /** What is asked until it answers 200; by default a connection will do. */
  ready?: string;
}

async function spawn(command: string[], { cwd, env, port, ready }: SpawnOptions) {
  const log = join(cwd, `stderr-${port}.log`);
  const began = performance.now();
  const child = Bun.spawn(command, {
    cwd,
    env: {
      PATH: process.env.PATH,
      NODE_ENV: "production",
      NEXT_TELEMETRY_DISABLED: "1",
      CLERK_WEBHOOK_SIGNING_SECRET: SECRET,
      PORT: String(port),
      ...env,
    },
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(log),
  });
  const stop = async () => {
    const kill = setTimeout(() => child.kill("SIGKILL"), 30_000);
    child.kill();
    await child.exited;
    clearTimeout(kill);
    await Bun.file(log)
      .delete()
      .catch(() => undefined);
  };
  try {
    await until(
      command.join(" "),
      async () => {
        if (child.exitCode !== null) throw new Error(`${command.join(" ")} ended:\n${await Bun.file(log).text()}`);
        return await (ready ? isHealthy(port, ready) : accepts(port));
      },
      60_000,
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: child.pid, startMs: performance.now() - began, stop };
}

async function isHealthy(port: number, path: string): Promise<true | undefined> {
  return fetch(`http://127.0.0.1:${port}${path}`).then(
    ({ ok }) => ok || undefined,
    () => undefined,
  );
}

async function accepts(port: number): Promise<true | undefined> {
  return Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).then(
    (socket) => {
      socket.end();
      return true;
    },
    () => undefined,
  );
}

/** When no run of an inbox is open. Looks at the file, without a word to the server. */
async function settled(path: string, timeoutMs: number): Promise<void> {
  if (!existsSync(path)) return;
  using db = new Database(path, { readonly: true });
  using open = db.prepare(`${OPEN_RUNS} limit 1`);
  await until("every run to end", () => open.get() === null || undefined, timeoutMs);
}
