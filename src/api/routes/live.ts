// Routes that need a running server: its state, its handlers' counts, refused requests, and the feed of changes.

import { Elysia, t } from "elysia";

import type { Pauses } from "../../dispatch/pauses.ts";
import type { Inbox } from "../../inbox/inbox.ts";
import type { DeliveryView } from "../../inbox/views.ts";
import type { ReadFrame } from "../code-frame.ts";
import type { Feed } from "../feed.ts";
import type { Send } from "../send-sample.ts";
import type {
  ChartWindow,
  HandlerJson,
  HealthJson,
  RefusedJson,
  ServerJson,
  ServerRowJson,
  TriedJson,
} from "../types.ts";

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
  send: Send;
  /** Runs a handler on a delivery and rolls back; undefined when no version of the handler has loaded. */
  dryRun: (handler: string, delivery: DeliveryView, body: Uint8Array) => Promise<Omit<TriedJson, "frame"> | undefined>;
}

const healthQuery = t.Object({
  window: t.Optional(t.Union([t.Literal("1h"), t.Literal("24h"), t.Literal("14d")])),
});
const sendBody = t.Object({
  event: t.String({ maxLength: 100 }),
  data: t.Optional(t.Record(t.String(), t.Unknown())),
});
const editedBody = t.Object({ event: t.Record(t.String(), t.Unknown()) });
const deliveryParameters = t.Object({ id: t.String({ maxLength: 256 }) });

export function liveRoutes(live: Live, inbox: Pick<Inbox, "get">, frame: ReadFrame | undefined) {
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
        (await live.send.sample(body.event, body.data)) ??
        status(404, { error: "unknown_event", message: `Clerk has no event ${body.event}` }),
      { body: sendBody },
    )
    .post(
      "/deliveries/:id/edited",
      ({ params: { id }, body: { event }, status }) =>
        typeof event["type"] === "string" && typeof event["data"] === "object" && event["data"] !== null
          ? live.send.edited(event, id)
          : status(422, { error: "not_an_event", message: "An event has a string `type` and an object `data`" }),
      { params: deliveryParameters, body: editedBody },
    )
    .get(
      "/deliveries/:id/curl",
      async ({ params: { id }, status }) => {
        const found = await inbox.get(id);
        if (!found?.body) return status(404, { error: found ? "wiped" : "not_found" });
        return { command: live.send.curl(new TextDecoder().decode(found.body)) };
      },
      { params: deliveryParameters },
    )
    .post(
      "/deliveries/:id/try",
      async ({ params: { id }, query: { handler }, status }) => {
        const found = await inbox.get(id);
        if (!found?.body) return status(404, { error: found ? "wiped" : "not_found" });
        const startedAt = Date.now();
        const tried = await live.dryRun(handler, found, found.body);
        if (!tried) return status(409, { error: "not_loaded" });
        return { ...tried, frame: (tried.error && (await frame?.(tried.error, startedAt))) ?? null };
      },
      { params: deliveryParameters, query: t.Object({ handler: t.String() }) },
    );
}
