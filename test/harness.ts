// Shared by the tests: temporary folders, servers in this process or in another one, and requests signed by `svix`.

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

import type { Subprocess } from "bun";
import pino from "pino";
import { Webhook } from "svix";

import { socketPath } from "../src/api/socket.ts";
import { messageId } from "../src/clerk/message-id.ts";
import { signedHeaders } from "../src/clerk/signed-message.ts";
import { type Config, type Environment, readConfig } from "../src/config.ts";
import type { DeliveryView } from "../src/inbox/views.ts";
import type { Logger } from "../src/logger.ts";
import { openServer, type Server } from "../src/main.ts";
import { freePort } from "./free-port.ts";
import { type RawConnection, rawConnection, rawExchange, rawRequest } from "./raw-connection.ts";
import { temporaryFolder } from "./temporary-folder.ts";
import { until } from "./until.ts";

export { freePort, type RawConnection, rawConnection, rawExchange, rawRequest, temporaryFolder, until };

export const SECRET = "whsec_dGhpcyBpcyBhIHNlY3JldCBmb3IgdGVzdHMgb25seQ==";
const ROOT = resolve(import.meta.dir, "..");

/** The contents of handler files, by their path in `handlers/`. */
export type Files = Record<string, string>;

export async function writeHandlers(folder: string, files: Files): Promise<void> {
  for (const [name, text] of Object.entries(files)) await Bun.write(join(folder, "handlers", name), text);
}

/** A temporary folder with an empty `handlers/`, which `bun start` requires. */
export async function folderWithHandlers(): ReturnType<typeof temporaryFolder> {
  const folder = await temporaryFolder();
  await mkdir(join(folder.path, "handlers"));
  return folder;
}

/** Settings for a server in `folder`, on a free port. */
export function environment(folder: string, more: Environment = {}): Environment {
  return {
    CLERK_WEBHOOK_SIGNING_SECRET: SECRET,
    PORT: "0",
    HOST: "127.0.0.1",
    INSPECTOR_PORT: "0",
    HANDLERS_DIR: join(folder, "handlers"),
    DATA_DIR: join(folder, "data"),
    LOG_FORMAT: "json",
    ...more,
  };
}

export function configFor(folder: string, more: Environment = {}, mode: Config["mode"] = "start"): Config {
  const read = readConfig(environment(folder, more), mode);
  if ("problems" in read) throw new Error(JSON.stringify(read.problems));
  return read.config;
}

export interface TestServer extends Server, AsyncDisposable {
  folder: string;
  dataDir: string;
  url: string;
  /** The log so far, as parsed lines. */
  lines: Record<string, unknown>[];
  /** Posts an event signed by `svix`. */
  post(event: unknown, options?: SignOptions): Promise<Response>;
  get(id: string): Promise<DeliveryView | undefined>;
  /** Waits until every run of a delivery has finished. */
  ended(id: string, timeoutMs?: number): Promise<DeliveryView>;
}

/** A server in this process, in a temporary folder unless one is given. */
export async function serverWith(
  files: Files,
  more: Environment = {},
  folder?: string,
  mode: Config["mode"] = "start",
): Promise<TestServer> {
  await using stack = new AsyncDisposableStack();
  const path = folder ?? stack.use(await temporaryFolder()).path;
  await writeHandlers(path, files);
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino(
    { level: "debug", base: null },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  const config = configFor(path, more, mode);
  const server = await openServer(config, log);
  stack.defer(() => server.stop());
  const url = `http://127.0.0.1:${server.port}${config.webhookPath}`;
  const moved = stack.move();
  const get = (id: string) => readDelivery(config.dataDir, id);
  return {
    ...server,
    folder: path,
    dataDir: config.dataDir,
    url,
    lines,
    post: (event, options) => post(url, event, options),
    get,
    ended: (id, timeoutMs) => waitUntilEnded(get, id, timeoutMs),
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

export interface SpawnedServer extends AsyncDisposable {
  url: string;
  process: Subprocess<"ignore", "pipe", "pipe">;
  /** Its output so far. */
  output(): string;
  get(id: string): Promise<DeliveryView | undefined>;
  ended(id: string, timeoutMs?: number): Promise<DeliveryView>;
}

/** `bun start` or `bun dev` in another process. Resolves when it listens; rejects with its output when it exits earlier. */
export async function spawnServer(
  folder: string,
  { mode = "start", env = {}, port }: { mode?: "start" | "dev"; env?: Environment; port?: number } = {},
): Promise<SpawnedServer> {
  const chosen = port ?? (await freePort());
  // `bun start` requires the directory. Creating it fails in tests with a read-only or full disk.
  if (mode === "start") await mkdir(join(folder, "handlers"), { recursive: true }).catch(() => undefined);
  const child = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), mode], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...environment(folder, { PORT: String(chosen), ...env }) },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let text = "";
  const drain = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  const drained = Promise.all([drain(child.stdout), drain(child.stderr)]);
  const url = `http://127.0.0.1:${chosen}/api/webhooks`;
  const get = (id: string) => readDelivery(join(folder, "data"), id);
  while (!(await isUp(chosen, join(folder, "data"), child.pid))) {
    if (child.exitCode !== null || child.signalCode !== null) {
      await drained;
      // Another process has taken the port since `freePort` found it.
      if (port === undefined && text.includes(`Port ${chosen} is taken`)) return spawnServer(folder, { mode, env });
      throw new Error(`the server ended with ${child.exitCode ?? child.signalCode}:\n${text}`);
    }
    await Bun.sleep(10);
  }
  return {
    url,
    process: child,
    output: () => text,
    get,
    ended: (id, timeoutMs) => waitUntilEnded(get, id, timeoutMs),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** Runs a command of Bellhop until it exits. */
export async function runCommand(
  folder: string,
  args: string[],
  env: Environment = {},
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...environment(folder), ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

export interface SignOptions {
  id?: string;
  secret?: string;
  /** The time of the signature. */
  at?: Date;
  headers?: Record<string, string>;
}

/** The headers that Svix sends with this body. */
export function signed(
  body: string,
  { id = messageId(Date.now()), secret = SECRET, at = new Date(), headers }: SignOptions = {},
) {
  return {
    "content-type": "application/json",
    "svix-id": id,
    "svix-timestamp": String(Math.floor(at.getTime() / 1_000)),
    "svix-signature": new Webhook(secret).sign(id, at, body),
    ...headers,
  };
}

export function post(url: string, event: unknown, options?: SignOptions): Promise<Response> {
  const body = typeof event === "string" ? event : JSON.stringify(event);
  return fetch(url, { method: "POST", body, headers: signed(body, options) });
}

/** The folder of Clerk's official examples beside the checkout. It may not exist. */
export const SHARED = resolve(ROOT, "..", "shared");

/** Whether the server with this pid responds. On a port that another process has taken, that process responds. */
async function isUp(port: number, dataDir: string, pid: number): Promise<boolean> {
  const unix = socketPath(dataDir);
  try {
    const { ok } = await fetch(`http://127.0.0.1:${port}/health`);
    if (!ok || !unix) return ok;
    const server = (await (await fetch("http://bellhop/api/server", { unix, keepalive: false })).json()) as {
      pid: number;
    };
    return server.pid === pid;
  } catch {
    return false;
  }
}

/** Asks the server of this directory for a delivery. */
export async function readDelivery(dataDir: string, id: string): Promise<DeliveryView | undefined> {
  const unix = socketPath(dataDir);
  if (!unix) throw new Error(`${dataDir} is too long for a socket`);
  // A kept connection would lead to the server that had this socket before.
  const response = await fetch(`http://bellhop/api/deliveries/${encodeURIComponent(id)}`, { unix, keepalive: false });
  return response.ok ? ((await response.json()) as DeliveryView) : undefined;
}

async function waitUntilEnded(get: (id: string) => Promise<DeliveryView | undefined>, id: string, timeoutMs?: number) {
  return until(
    `the runs of ${id} to finish`,
    async () => {
      const delivery = await get(id);
      return delivery?.runs.every(({ state }) => state === "done" || state === "dead" || state === "skipped")
        ? delivery
        : undefined;
    },
    timeoutMs,
  );
}

/** The headers of a request whose bytes are not valid text, which `svix` can't sign. */
export function signedBytes(body: Uint8Array, options: SignOptions = {}) {
  const { id = messageId(Date.now()), secret = SECRET, at = new Date(), headers } = options;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  return { ...signedHeaders(body, { id, key, now: at.getTime() }), ...headers };
}
