// The HTTP API of a server, under /api: on the Unix socket, and on the inspector's port behind its access rules.
// Its answers never contain the text of an internal error.

import { Elysia } from "elysia";

import { InboxUnavailable } from "../errors.ts";
import type { ApiOptions } from "./options.ts";
import { deliveryRoutes } from "./routes/deliveries.ts";
import { liveRoutes } from "./routes/live.ts";
import { replayRoutes } from "./routes/replays.ts";

export function createApi(options: ApiOptions) {
  const { live, onError } = options;
  const app = new Elysia({ prefix: "/api" })
    // An Elysia hook covers only the routes after it; without this one, the answer is the error's message.
    .onError(({ code, error }) => errorAnswer(code, error, onError))
    .use(deliveryRoutes(options))
    .use(replayRoutes(options));
  return live ? app.use(liveRoutes(live)) : app.get("/server", () => ({ pid: process.pid }));
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
