// Starts and stops the measured servers, each in its own process. Their output is discarded, because reading a pipe would
// slow the load generator. Bellhop is `bun start` with its default log level.

import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

import type { Environment } from "../../src/config.ts";
import { environment, type Files, freePort, SECRET, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { installPeer, type Peer, runtimeOf } from "./peers.ts";

export const ROOT = resolve(import.meta.dir, "../..");

export interface Running extends AsyncDisposable {
  port: number;
  pid: number;
  /** The working directory of the server. */
  folder: string;
  /** Other servers over the same database. They share the load, and count in the usage. */
  siblings?: readonly Running[];
  /** The process of the database server. */
  storePid?: number;
  /** Milliseconds from starting the process until it answered. */
  startMs: number;
  /** Resolves when every accepted delivery is handled. */
  settle(timeoutMs?: number): Promise<void>;
  /** Stops the process and waits for its exit. Its files are kept. */
  stop(): Promise<void>;
}

/** A server whose store is read after it has stopped. */
export interface Checked extends Running {
  /** Returns the problems of the deliveries that were answered 200. */
  check(answered: readonly string[]): Promise<string[]>;
}

export const HANDLER: Files = {
  "user.created.ts": `import { on } from "bellhop";\nexport default on("user.created", () => {});\n`,
};

/** Inserts a row for each run. Without a unique constraint, so that a repeated run is visible. */
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
  /** An existing directory, which is kept. Default: a temporary one, which is removed. */
  folder?: string;
}

/** Starts Bellhop with the given handler files. */
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
  const settle = (timeoutMs = 120_000) => runsFinished(join(path, "data/inbox.db"), timeoutMs);
  return running({ ...server, port, folder: path, settle }, opened.move());
}

/** Starts the baseline server, see `baseline.ts`. */
export async function startBaseline(): Promise<Running> {
  return startScript("baseline.ts");
}

/** Starts the route with one SQLite insert for each request, see `peers/sqlite.mjs`. */
export async function startSqliteRoute(): Promise<Running> {
  return startScript("peers/sqlite.mjs");
}

/** Starts the server that shows the load generator's ceiling, see `ceiling.ts`. */
export async function startCeiling(requestBytes: number): Promise<Running> {
  return startScript("ceiling.ts", { REQUEST_BYTES: String(requestBytes) });
}

export async function startPeer(peer: Peer, env: Environment = {}): Promise<Running> {
  await using opened = new AsyncDisposableStack();
  const folder = await installPeer(peer);
  const port = await freePort();
  const server = await spawn([runtimeOf(peer), ...peer.start(port)], { cwd: folder, env, port });
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
  /** A path that is polled until it answers 200. Default: wait until the port accepts a connection. */
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
        if (child.exitCode !== null) throw new Error(`${command.join(" ")} exited:\n${await Bun.file(log).text()}`);
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

/** Resolves when an inbox has no unfinished run. Reads the file, so that the server does no work for it. */
async function runsFinished(path: string, timeoutMs: number): Promise<void> {
  if (!existsSync(path)) return;
  using db = new Database(path, { readonly: true });
  // With the terms of its index: otherwise it would read all of ten million runs.
  using unfinished = db.prepare("select 1 from run where state in (0, 1) and state <> 2 and parked_at is null limit 1");
  await until("every run has finished", () => unfinished.get() === null || undefined, timeoutMs);
}
