// What people and commands ask of a server: the app with all routes under /api. Over the Unix socket, which only the
// server's user can open, and over the inspector's port, behind its door.

import { chmodSync, existsSync, rmSync } from "node:fs";
import { join, relative } from "node:path";

import { Elysia } from "elysia";

import { InboxUnavailable } from "../errors.ts";
import type { DeliveryView, Inbox, NewRun } from "../inbox/inbox.ts";
import type { ReadFrame } from "./frames.ts";
import { bulkRoutes } from "./routes/bulk.ts";
import { deliveryRoutes } from "./routes/deliveries.ts";
import { type Live, liveRoutes } from "./routes/live.ts";

export { LIST_STATES } from "./routes/filter.ts";

export interface ApiOptions {
  inbox: Pick<
    Inbox,
    | "get"
    | "list"
    | "looked"
    | "replay"
    | "retryNow"
    | "giveUp"
    | "missing"
    | "addMissing"
    | "replayable"
    | "addReplays"
    | "states"
  >;
  match: (type: string) => NewRun[];
  /** The handlers as they are now. */
  handlers: () => readonly KnownHandler[];
  /** Where an error was thrown. */
  frame?: ReadFrame;
  /** There when a server runs; a command that has opened the files itself has none. */
  live?: Live;
  /** What the routes did not expect. */
  onError?: (error: unknown) => void;
}

/** What the API has to know of a handler. */
export interface KnownHandler {
  name: string;
  lane: string;
  event: string;
  /** Its file as it is now does not load. */
  error?: { where: string; message: string };
}

/** Why nothing can be run through a handler. */
export type HandlerTrouble =
  { error: "unknown_handler"; handlers: string[] } | { error: "not_loaded"; where: string; message: string };

/** What commands read of a delivery. The payload is shown on request only: `null` when it is gone, not there when nobody asked. */
export type DeliveryJson = Omit<DeliveryView, "body"> & { payload?: string | null };

// sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final zero among them.
const LONGEST_SOCKET_PATH = 103;

/** The socket's path, as short as it can be told from here; undefined when no path is short enough. */
export function socketPath(dataDir: string): string | undefined {
  const path = join(dataDir, "bellhop.sock");
  const shortest = [path, relative(process.cwd(), path)].toSorted((a, b) => a.length - b.length)[0] ?? path;
  return Buffer.byteLength(shortest) <= LONGEST_SOCKET_PATH ? shortest : undefined;
}

export function createApi(options: ApiOptions) {
  const { live, onError } = options;
  const app = new Elysia({ prefix: "/api" })
    // First of all: a hook covers only the routes after it, and elsewhere Elysia would answer with the error's message.
    .onError(({ code, error }) => answerError(code, error, onError))
    .use(deliveryRoutes(options))
    .use(bulkRoutes(options));
  return live ? app.use(liveRoutes(live)) : app.get("/server", () => ({ pid: process.pid }));
}

/** What went wrong, in a word; never what an error of our own says. */
export function answerError(code: string | number, error: unknown, onError?: (error: unknown) => void): Response {
  if (code === "NOT_FOUND") return Response.json({ error: "not_found" }, { status: 404 });
  if (code === "VALIDATION") {
    const [first] = (error as { all: readonly { path?: string; message?: string }[] }).all;
    const says = `${first?.path?.slice(1) ?? ""}: ${first?.message ?? "is not as it should be"}`;
    return Response.json({ error: "bad_request", says }, { status: 422 });
  }
  if (code === "PARSE") return Response.json({ error: "bad_request", says: "The body is no JSON" }, { status: 400 });
  if (error instanceof InboxUnavailable) return Response.json({ error: "unavailable" }, { status: 503 });
  onError?.(error);
  return Response.json({ error: "internal" }, { status: 500 });
}

/** Serves the API on `DATA_DIR/bellhop.sock`. The caller holds the folder's lock, so what lies there is a leftover. */
export function serveSocket(path: string, options: ApiOptions): { stop(): Promise<void> } {
  if (existsSync(path)) rmSync(path);
  const api = createApi(options);
  const server = Bun.serve({ unix: path, fetch: (request) => api.fetch(request) });
  chmodSync(path, 0o600);
  return {
    async stop() {
      await server.stop(true);
      rmSync(path, { force: true });
    },
  };
}
