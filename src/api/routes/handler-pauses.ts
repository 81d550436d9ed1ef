// Pauses and resumes handlers, and lists those that are paused.

import { Elysia, t } from "elysia";

import type { PausedHandler, Pauses } from "../../dispatch/pauses.ts";
import type { Inbox } from "../../inbox/inbox.ts";
import type { ApiOptions } from "../app.ts";
import { unknownHandler } from "./selection.ts";

const MAX_NAME = 300;
const handlerQuery = t.Object({ handler: t.String({ minLength: 1, maxLength: MAX_NAME }) });
const pauseQuery = t.Composite([handlerQuery, t.Object({ reason: t.Optional(t.String({ maxLength: 500 })) })]);

export function pauseRoutes({ inbox, handlers, live }: ApiOptions) {
  /** A running server notices its own changes at once, and those of others within about a second. */
  const pauses: Pauses | undefined = live?.pauses;
  return new Elysia()
    .get("/pauses", async () => ({ paused: pauses ? pauses.list() : await list(inbox) }))
    .post(
      "/pause",
      async ({ query: { handler, reason = null }, status }) => {
        if (!handlers().some(({ name }) => name === handler)) return status(409, unknownHandler(handlers()));
        const changed = await (pauses?.pause(handler, reason) ?? inbox.pauses.pause(handler, "person", reason, null));
        if (changed) live?.handlersChanged();
        return { changed };
      },
      { query: pauseQuery },
    )
    .post(
      "/resume",
      // Also a handler whose file is gone.
      async ({ query: { handler } }) => {
        const changed = await (pauses?.resume(handler) ?? inbox.pauses.resume(handler));
        if (changed) live?.handlersChanged();
        return { changed };
      },
      { query: handlerQuery },
    );
}

async function list(inbox: Pick<Inbox, "pauses">): Promise<PausedHandler[]> {
  const now = Date.now();
  return (await inbox.pauses.list()).map(({ pausedFor, nextProbe, ...pause }) => ({
    ...pause,
    since: now - pausedFor,
    probeAt: nextProbe === null ? null : now + nextProbe,
  }));
}
