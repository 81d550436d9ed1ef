// Routes that need a running server: its state, its handlers' counts, refused requests, and the feed of changes.

import { Elysia, t } from "elysia";

import type { Pauses } from "../../dispatch/pauses.ts";
import type { Feed } from "../feed.ts";
import type { SendSample } from "../send-sample.ts";
import type { ChartWindow, HandlerJson, HealthJson, RefusedJson, ServerJson, ServerRowJson } from "../types.ts";

export interface Live {
  server(): ServerJson;
  handlers(): HandlerJson[];
  servers(): ServerRowJson[];
  health(window?: ChartWindow): Promise<HealthJson>;
  refused(): RefusedJson;
  pauses: Pauses;
  /** A handler was added, changed, paused or resumed. */
  handlersChanged(): void;
  feed: Feed;
  send: SendSample;
}

const healthQuery = t.Object({
  window: t.Optional(t.Union([t.Literal("1h"), t.Literal("24h"), t.Literal("14d")])),
});
const sendBody = t.Object({
  event: t.String({ maxLength: 100 }),
  data: t.Optional(t.Record(t.String(), t.Unknown())),
});

export function liveRoutes(live: Live) {
  return new Elysia()
    .get("/server", () => live.server())
    .get("/handlers", () => live.handlers())
    .get("/servers", () => live.servers())
    .get("/health", ({ query }) => live.health(query.window), { query: healthQuery })
    .get("/refused", () => live.refused())
    .get("/feed", ({ request, status }) => {
      const stream = live.feed.connect(request.headers.get("last-event-id"));
      return stream ?? status(503, { error: "too_many", message: "Too many inspector pages are open: close some" });
    })
    .post(
      "/send",
      async ({ body, status }) =>
        (await live.send(body.event, body.data)) ??
        status(404, { error: "unknown_event", message: `Clerk has no event ${body.event}` }),
      { body: sendBody },
    );
}
