// The HTTP API of a server, under /api: on the Unix socket, and on the inspector's port behind its access rules.
// Its answers never contain the text of an internal error.

import { Elysia } from "elysia";

import { InboxUnavailable } from "../errors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { RunKey } from "../inbox/views.ts";
import type { Erasures } from "../upkeep/erasures.ts";
import type { ReadFrame } from "./code-frame.ts";
import { deliveryRoutes } from "./routes/deliveries.ts";
import { erasureRoutes } from "./routes/erasure-routes.ts";
import { pauseRoutes } from "./routes/handler-pauses.ts";
import { type Live, liveRoutes } from "./routes/live.ts";
import { problemRoutes } from "./routes/problems.ts";
import { replayRoutes } from "./routes/replays.ts";
import { searchRoutes } from "./routes/searches.ts";
import type { ApiHandler } from "./routes/selection.ts";

/** The parts of the process that the API reads and changes. */
export interface ApiOptions {
  inbox: Pick<
    Inbox,
    | "get" | "list" | "contents" | "replay" | "countReplay" | "replayProgress" | "retryNow" | "giveUp"
    | "pauses" | "problems"
  >; // prettier-ignore
  /** The current handlers. */
  handlers: () => readonly ApiHandler[];
  /** Finds the source line that threw an error. */
  frame?: ReadFrame;
  /** Set when a server runs, or the command that erases. */
  erasures?: Pick<Erasures, "erase" | "find">;
  /** Finds runs that are done and whose effects are missing; set when a server runs. */
  lost?: () => Promise<RunKey[]>;
  /** Set when a server runs; a command that opens the inbox itself has none. */
  live?: Live;
  /** Called with errors that no route expects. */
  onError?: (error: unknown) => void;
}

export function createApi(options: ApiOptions) {
  const { live, onError } = options;
  const app = new Elysia({ prefix: "/api" })
    // An Elysia hook covers only the routes after it; without this one, the answer is the error's message.
    .onError(({ code, error }) => errorAnswer(code, error, onError))
    .use(deliveryRoutes(options))
    .use(searchRoutes(options))
    .use(replayRoutes(options))
    .use(pauseRoutes(options))
    .use(erasureRoutes(options))
    .use(problemRoutes(options));
  return live
    ? app.use(liveRoutes(live, options.inbox, options.frame))
    : app.get("/server", () => ({ pid: process.pid }));
}

/** The answer to a request that failed. Errors that no route expects are passed to `onError`, and answered as `internal`. */
export function errorAnswer(code: string | number, error: unknown, onError?: (error: unknown) => void): Response {
  if (code === "NOT_FOUND") return Response.json({ error: "not_found" }, { status: 404 });
  if (code === "VALIDATION") {
    const [first] = (error as { all: readonly { path?: string; message?: string }[] }).all;
    const message = `${first?.path?.slice(1) ?? ""}: ${first?.message ?? "is not valid"}`;
    return Response.json({ error: "bad_request", message }, { status: 422 });
  }
  if (code === "PARSE")
    return Response.json({ error: "bad_request", message: "The body is not valid JSON" }, { status: 400 });
  if (error instanceof InboxUnavailable) return Response.json({ error: "unavailable" }, { status: 503 });
  onError?.(error);
  return Response.json({ error: "internal" }, { status: 500 });
}
