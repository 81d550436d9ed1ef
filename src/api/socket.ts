// Serves the API to commands on `DATA_DIR/bellhop.sock`, which only the server's user can open.

import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

import { messageOf } from "../errors.ts";
import type { ApiOptions } from "./app.ts";

// `sun_path` of sockaddr_un has 108 bytes on Linux and 104 on macOS, the terminating zero included.
const MAX_SOCKET_PATH_BYTES = 103;
const SOCKET_NAME = "bellhop.sock";

/** The path of the socket; relative to this directory where it is too long, undefined where that is too long as well. */
export function socketPath(dataDir: string): string | undefined {
  const path = join(dataDir, SOCKET_NAME);
  return [path, relative(process.cwd(), path)].find((name) => Buffer.byteLength(name) <= MAX_SOCKET_PATH_BYTES);
}

/** Serves commands. Where no socket can be opened, which only commands need, it warns and returns undefined. */
export function openSocket(
  dataDir: string,
  options: ApiOptions,
  warn: (note: string) => void,
): { stop(): Promise<void> } | undefined {
  const path = socketPath(dataDir);
  const consequence = "commands can't reach this server";
  if (!path) {
    warn(`the path of ${dataDir} is too long for a socket: ${consequence}`);
    return undefined;
  }
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    return serveSocket(path, options);
  } catch (error) {
    // Some file systems have no sockets.
    warn(`no socket can be opened in ${dataDir} (${messageOf(error)}): ${consequence}`);
    return undefined;
  }
}

/**
 * Starts to listen. An existing socket is a leftover of a dead server, or that of the server before this one in a rolling
 * deploy: its commands come here from now on.
 */
function serveSocket(path: string, options: ApiOptions): { stop(): Promise<void> } {
  // A handler may change the directory of the process, and there may be a socket of this name elsewhere.
  const own = resolve(path);
  const answer = lazyApi(options);
  // Never open to others, not even between creating the file and setting its mode.
  const umask = process.umask(0o177);
  // Bun deletes the path of a server that stops, which may be the socket of the next server by then. As long as the name.
  const created = join(dirname(path), crypto.randomUUID().slice(0, SOCKET_NAME.length));
  let server: Bun.Server<undefined>;
  try {
    server = Bun.serve({ unix: created, fetch: answer });
  } finally {
    process.umask(umask);
  }
  try {
    renameSync(created, path);
  } catch (error) {
    void server.stop(true);
    throw error;
  }
  const { ino } = statSync(own);
  return {
    async stop() {
      await server.stop(true);
      // A later server may have replaced it.
      if (statSync(own, { throwIfNoEntry: false })?.ino === ino) rmSync(own, { force: true });
    },
  };
}

/** The routes and their library are loaded by the first command: a server should listen before that. */
function lazyApi(options: ApiOptions): (request: Request) => Promise<Response> {
  let loading: ReturnType<typeof load> | undefined;
  const load = async () => (await import("./app.ts")).createApi(options);
  return async (request) => {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    return (await loading).fetch(request);
  };
}
