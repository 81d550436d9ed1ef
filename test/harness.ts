// What the tests share: a temporary folder, a server in this process or in one of its own, and requests signed by `svix`.

import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join, resolve } from "node:path";

import type { Subprocess } from "bun";
import pino from "pino";
import { Webhook } from "svix";

import { socketPath } from "../src/api/socket.ts";
import { messageId } from "../src/clerk/message-id.ts";
import { signedHeaders } from "../src/clerk/signed-message.ts";
import { type Config, type Environment, readConfig } from "../src/config.ts";
import type { DeliveryView } from "../src/inbox/views.ts";
import type { Logger } from "../src/log.ts";
import { openServer, type Server } from "../src/main.ts";
import { freePort } from "./free-port.ts";
import { temporaryFolder } from "./temporary-folder.ts";
import { until } from "./until.ts";

export { freePort, temporaryFolder, until };

export const SECRET = "whsec_dGhpcyBpcyBhIHNlY3JldCBmb3IgdGVzdHMgb25seQ==";
const ROOT = resolve(import.meta.dir, "..");

/** Handler files by name, as they would lie in `handlers/`. */
export type Files = Record<string, string>;

export async function writeHandlers(folder: string, files: Files): Promise<void> {
  for (const [name, text] of Object.entries(files)) await Bun.write(join(folder, "handlers", name), text);
}

/** A temporary folder with an empty `handlers/`, without which `bun start` does not start. */
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
  /** What was logged, a parsed line each. */
  lines: Record<string, unknown>[];
  /** Posts an event signed by `svix`. */
  post(event: unknown, options?: SignOptions): Promise<Response>;
  get(id: string): Promise<DeliveryView | undefined>;
  /** Waits until every run of a delivery has ended. */
  ended(id: string, timeoutMs?: number): Promise<DeliveryView>;
}

/** A whole server in this process, with a folder of its own unless one is given. */
export async function serverWith(
  files: Files,
  more: Environment = {},
  folder?: string,
  mode: Config["mode"] = "start",
): Promise<TestServer> {
  await using opened = new AsyncDisposableStack();
  const path = folder ?? opened.use(await temporaryFolder()).path;
  await writeHandlers(path, files);
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino(
    { level: "debug", base: null },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  const config = configFor(path, more, mode);
  const server = await openServer(config, log);
  opened.defer(() => server.stop());
  const url = `http://127.0.0.1:${server.port}${config.webhookPath}`;
  const held = opened.move();
  const get = (id: string) => askSocket(config.dataDir, id);
  return {
    ...server,
    folder: path,
    dataDir: config.dataDir,
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
  // `bun start` needs one, and the disk may be read-only or full.
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
  const get = (id: string) => askSocket(join(folder, "data"), id);
  while (!(await isUp(chosen, join(folder, "data"), child.pid))) {
    if (child.exitCode !== null || child.signalCode !== null) {
      await drained;
      // Somebody else was quicker to take the port that was free a moment ago.
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

/** The folder of Clerk's official examples beside the checkout, or undefined where it is not. */
export const SHARED = resolve(ROOT, "..", "shared");

/** Whether it answers, and is the process that it should be: on a port that somebody else has taken, another one answers. */
async function isUp(port: number, dataDir: string, pid: number): Promise<boolean> {
  const unix = socketPath(dataDir);
  try {
    const { ok } = await fetch(`http://127.0.0.1:${port}/health`);
    if (!ok || !unix) return ok;
    const server = (await (await fetch("http://bellhop/api/server", { unix })).json()) as { pid: number };
    return server.pid === pid;
  } catch {
    return false;
  }
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

/** The headers of a request with bytes that `svix` could not sign as text. */
export function signedBytes(body: Uint8Array, options: SignOptions = {}) {
  const { id = messageId(Date.now()), secret = SECRET, at = new Date(), headers } = options;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  return { ...signedHeaders(body, { id, key, now: at.getTime() }), ...headers };
}

/** The bytes of a request as given, also where it breaks the rules. Host and length are added where they are missing. */
export function rawRequest(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body: string | Uint8Array = "",
): Buffer {
  const bytes = Buffer.from(body);
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const length = bytes.length > 0 && !given.has("transfer-encoding") ? { "content-length": String(bytes.length) } : {};
  const all = { ...(given.has("host") ? {} : { host: "bellhop.test" }), ...length, ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`), bytes]);
}

/** A TCP connection, for requests that no client would send. */
export interface RawConnection extends Disposable {
  write(bytes: string | Uint8Array): void;
  /** Everything that came back so far, and what ended it. */
  received(): string;
  /** Resolves when either side has closed it. */
  closed: Promise<void>;
  /** The status and body of the next answer that carries its length. */
  answer(): Promise<{ status: number; body: string }>;
}

export async function rawConnection(port: number): Promise<RawConnection> {
  const socket = connect(port, "127.0.0.1");
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  let text = "";
  let read = 0;
  let over = false;
  let changed = Promise.withResolvers<void>();
  const change = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  socket.setNoDelay(true);
  socket.on("data", (bytes) => {
    text += bytes.toString("latin1");
    change();
  });
  // What the server thinks of it is told by `received` and `closed`.
  socket.on("error", () => undefined);
  socket.on("close", () => {
    over = true;
    close();
    change();
  });
  await new Promise((resolve) => socket.once("connect", resolve));

  function next() {
    const [head] = text.slice(read).split("\r\n\r\n", 1);
    if (head === undefined || read + head.length === text.length) return undefined;
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    const from = read + head.length + 4;
    if (text.length < from + length) return undefined;
    read = from + length;
    return { status: Number(head.slice(9, 12)), body: text.slice(from, read) };
  }

  return {
    write: (bytes) => void socket.write(bytes),
    received: () => text,
    closed,
    async answer() {
      while (true) {
        const answer = next();
        if (answer) return answer;
        if (over) throw new Error(`the connection was closed without an answer, after: ${text.slice(read)}`);
        await changed.promise;
      }
    },
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** Sends one request over a connection of its own. */
export async function rawExchange(port: number, request: Uint8Array): Promise<{ status: number; body: string }> {
  using connection = await rawConnection(port);
  connection.write(request);
  return await connection.answer();
}
