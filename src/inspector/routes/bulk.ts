// Many deliveries run again: counted first, then step by step, and how their runs stand.

import { Elysia, t } from "elysia";

import type { MissingQuery, ReplayHandler, ReplayQuery } from "../../inbox/queries.ts";
import type { ApiOptions, HandlerTrouble, KnownHandler } from "../app.ts";
import { narrow } from "./filter.ts";

// As many as a commit may take without holding up deliveries: 10 ms.
const MOST_PER_STEP = 200;

const missingQuery = t.Object({
  handler: t.String(),
  since: t.Optional(t.Numeric()),
  stale: t.Optional(t.BooleanString()),
});
const stepQuery = t.Composite([missingQuery, t.Object({ after: t.Numeric() })]);
const statesQuery = t.Object({ handler: t.Optional(t.String()), first: t.Numeric(), last: t.Numeric() });
const replaysQuery = t.Object({
  ...narrow,
  dead: t.Optional(t.BooleanString()),
  stale: t.Optional(t.BooleanString()),
});
const replaysStep = t.Composite([
  replaysQuery,
  t.Object({
    replay: t.String({ minLength: 1, maxLength: 100 }),
    after: t.Numeric(),
    limit: t.Optional(t.Numeric({ minimum: 1, maximum: MOST_PER_STEP })),
  }),
]);

export function bulkRoutes({ inbox, handlers, live }: ApiOptions) {
  async function told<Step extends { added: number }>(step: Promise<Step>): Promise<Step> {
    const done = await step;
    live?.feed.manyChanged(done.added);
    return done;
  }

  return new Elysia()
    .get(
      "/missing",
      async ({ query, status }) => {
        const asked = readMissing(query, handlers());
        return "error" in asked ? status(409, asked) : { ...(await inbox.missing(asked)), event: asked.event };
      },
      { query: missingQuery },
    )
    .post(
      "/missing",
      async ({ query, status }) => {
        const asked = readMissing(query, handlers());
        return "error" in asked ? status(409, asked) : await told(inbox.addMissing(asked, query.after, MOST_PER_STEP));
      },
      { query: stepQuery },
    )
    .get(
      "/replays",
      async ({ query, status }) => {
        const asked = readReplays(query, handlers());
        return "error" in asked ? status(409, asked) : await inbox.replayable(asked, asked.handlers);
      },
      { query: replaysQuery },
    )
    .post(
      "/replays",
      async ({ query: { replay, after, limit = MOST_PER_STEP, ...query }, status }) => {
        const asked = readReplays(query, handlers());
        return "error" in asked
          ? status(409, asked)
          : await told(inbox.addReplays(asked, asked.handlers, replay, after, limit));
      },
      { query: replaysStep },
    )
    .get("/runs", ({ query }) => inbox.states(query.handler ?? null, query), { query: statesQuery });
}

/** A handler whose file is gone may still have runs that died: those can't be run, which the count says. */
function readReplays(
  query: Partial<ReplayQuery>,
  known: readonly KnownHandler[],
): (ReplayQuery & { handlers: ReplayHandler[] }) | HandlerTrouble {
  const {
    dead = false,
    handler = null,
    type = null,
    subject = null,
    since = null,
    until = null,
    stale = false,
  } = query;
  const named = known.find(({ name }) => name === handler);
  if (handler !== null && !named) return { error: "unknown_handler", handlers: known.map(({ name }) => name) };
  if (named?.error) return { error: "not_loaded", where: named.error.where, message: named.error.message };
  const handlers = known.map(({ name, lane, event, error }) => ({
    handler: name,
    lane,
    event,
    parked: error !== undefined,
  }));
  return { dead, handler, type, subject, since, until, stale, handlers };
}

function readMissing(
  { handler: name, since = null, stale = false }: { handler: string; since?: number | null; stale?: boolean },
  handlers: readonly KnownHandler[],
): MissingQuery | HandlerTrouble {
  const handler = handlers.find((each) => each.name === name);
  if (!handler) return { error: "unknown_handler", handlers: handlers.map((each) => each.name) };
  if (handler.error) return { error: "not_loaded", where: handler.error.where, message: handler.error.message };
  return { handler: name, lane: handler.lane, event: handler.event, since, stale };
}
