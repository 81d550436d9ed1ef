// What the tests share: a temporary folder, a server in this process or in one of its own, and requests signed by `svix`.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import type { Subprocess } from "bun";
import pino from "pino";
import { Webhook } from "svix";

import { messageId } from "../src/cli/message-id.ts";
import { type Config, type Environment, readConfig } from "../src/config.ts";
import type { DeliveryView } from "../src/inbox/inbox.ts";
import { socketPath } from "../src/inspector/app.ts";
import type { Logger } from "../src/log.ts";
import { openServer, type Server } from "../src/main.ts";

export const SECRET = "whsec_dGhpcyBpcyBhIHNlY3JldCBmb3IgdGVzdHMgb25seQ==";
const ROOT = resolve(import.meta.dir, "..");

/** A folder of its own for one test, removed with it. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "bellhop-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Handler files by name, as they would lie in `handlers/`. */
export type Files = Record<string, string>;

export async function writeHandlers(folder: string, files: Files): Promise<void> {
  for (const [name, text] of Object.entries(files)) await Bun.write(join(folder, "handlers", name), text);
}

/** Settings for a server in `folder`, on a free port. */
export function environment(folder: string, more: Environment = {}): Environment {
  return {
    CLERK_WEBHOOK_SIGNING_SECRET: SECRET,
    PORT: "0",
    HOST: "127.0.0.1",
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
  url: string;
  /** What was logged, a parsed line each. */
  lines: Record<string, unknown>[];
  /** Posts an event signed by `svix`. */
  post(event: unknown, options?: SignOptions): Promise<Response>;
  get(id: string): Promise<DeliveryView | undefined>;
  /** Waits until every run of a delivery has ended. */
  ended(id: string, timeoutMs?: number): Promise<DeliveryView>;
}

/** A whole server in this process, with a folder of its own unless one is given. */
export async function serverWith(files: Files, more: Environment = {}, folder?: string): Promise<TestServer> {
  await using opened = new AsyncDisposableStack();
  const path = folder ?? opened.use(await temporaryFolder()).path;
  await writeHandlers(path, files);
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino(
    { level: "debug", base: null },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  const config = configFor(path, more);
  const server = await openServer(config, log);
  opened.defer(() => server.stop());
  const url = `http://127.0.0.1:${server.port}${config.webhookPath}`;
  const held = opened.move();
  const get = (id: string) => askSocket(config.dataDir, id);
  return {
    ...server,
    folder: path,
    url,
    lines,
    post: (event, options) => post(url, event, options),
    get,
    ended: (id, timeoutMs) => waitUntilEnded(get, id, timeoutMs),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

export interface SpawnedServer extends AsyncDisposable {
  url: string;
  process: Subprocess<"ignore", "pipe", "pipe">;
  /** Everything that it printed so far. */
  output(): string;
  get(id: string): Promise<DeliveryView | undefined>;
  ended(id: string, timeoutMs?: number): Promise<DeliveryView>;
}

/** `bun start` or `bun dev` in a process of its own; resolves when it listens, rejects with its output when it ends before. */
export async function spawnServer(
  folder: string,
  { mode = "start", env = {}, port }: { mode?: "start" | "dev"; env?: Environment; port?: number } = {},
): Promise<SpawnedServer> {
  const chosen = port ?? (await freePort());
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
  const get = (id: string) => askSocket(join(folder, "data"), id);
  while (!(await isUp(chosen))) {
    if (child.exitCode !== null || child.signalCode !== null) {
      await drained;
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

/** Runs one command of Bellhop's to its end. */
export async function runCommand(
  folder: string,
  words: string[],
  env: Environment = {},
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), ...words], {
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
  /** When it was signed. */
  at?: Date;
  headers?: Record<string, string>;
}

/** The headers that Svix would send with this body. */
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

/** Resolves when `condition` gives a value; rejects after `timeoutMs`, with what it was waiting for. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 10_000,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    await Bun.sleep(5);
  }
  throw new Error(`waited ${timeoutMs} ms for ${what}`);
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  await server.stop(true);
  return port as number;
}

/** The folder of Clerk's official examples beside the checkout, or undefined where it is not. */
export const SHARED = resolve(ROOT, "..", "shared");

async function isUp(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/health`).then(
    (response) => response.ok,
    () => false,
  );
}

async function askSocket(dataDir: string, id: string): Promise<DeliveryView | undefined> {
  const unix = socketPath(dataDir);
  if (!unix) throw new Error(`${dataDir} is too long for a socket`);
  const response = await fetch(`http://bellhop/api/deliveries/${encodeURIComponent(id)}`, { unix });
  return response.ok ? ((await response.json()) as DeliveryView) : undefined;
}

async function waitUntilEnded(get: (id: string) => Promise<DeliveryView | undefined>, id: string, timeoutMs?: number) {
  return until(
    `the runs of ${id} to end`,
    async () => {
      const delivery = await get(id);
      return delivery?.runs.every(({ state }) => state === "done" || state === "dead" || state === "skipped")
        ? delivery
        : undefined;
    },
    timeoutMs,
  );
}
