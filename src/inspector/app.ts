// What the commands ask a running server, over a Unix socket that only its user can open.
// JSON under /api; the inspector's page will stand on the same routes.

import { chmodSync, existsSync, rmSync } from "node:fs";
import { join, relative } from "node:path";

import { Elysia, t } from "elysia";

import type { DeliveryView, Inbox, NewRun } from "../inbox/inbox.ts";
import type { ListFilter, MissingQuery, ReplayHandler, ReplayQuery } from "../inbox/queries.ts";

export interface ApiOptions {
  inbox: Pick<
    Inbox,
    "get" | "list" | "looked" | "replay" | "missing" | "addMissing" | "replayable" | "addReplays" | "states"
  >;
  match: (type: string) => NewRun[];
  /** The handlers as they are now. */
  handlers: () => readonly KnownHandler[];
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

/** A delivery as JSON has it. The payload is shown on request only: `null` when it is gone, not there when nobody asked. */
export type DeliveryJson = Omit<DeliveryView, "body"> & { payload?: string | null };

// sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final zero among them.
const LONGEST_SOCKET_PATH = 103;

/** The socket's path, as short as it can be told from here; undefined when no path is short enough. */
export function socketPath(dataDir: string): string | undefined {
  const path = join(dataDir, "bellhop.sock");
  const shortest = [path, relative(process.cwd(), path)].toSorted((a, b) => a.length - b.length)[0] ?? path;
  return Buffer.byteLength(shortest) <= LONGEST_SOCKET_PATH ? shortest : undefined;
}

// As many as a commit may take without holding up deliveries: 10 ms.
const MOST_PER_STEP = 200;
const PAGE = 50;

/** What `state` may be in a list. */
export const LIST_STATES = ["waiting", "running", "done", "dead", "skipped", "parked", "unhandled"] as const;

const missingQuery = t.Object({
  handler: t.String(),
  since: t.Optional(t.Numeric()),
  stale: t.Optional(t.BooleanString()),
});
const stepQuery = t.Composite([missingQuery, t.Object({ after: t.Numeric() })]);
const statesQuery = t.Object({ handler: t.Optional(t.String()), first: t.Numeric(), last: t.Numeric() });
const narrow = {
  type: t.Optional(t.String()),
  subject: t.Optional(t.String()),
  handler: t.Optional(t.String()),
  since: t.Optional(t.Numeric()),
  until: t.Optional(t.Numeric()),
};
const listQuery = t.Object({
  ...narrow,
  id: t.Optional(t.String()),
  state: t.Optional(t.Enum(toEnum(LIST_STATES))),
  before: t.Optional(t.Numeric()),
  limit: t.Optional(t.Numeric({ minimum: 1, maximum: 1_000 })),
});
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

export function createApi({ inbox, match, handlers }: ApiOptions) {
  return new Elysia({ prefix: "/api" })
    .get("/server", () => ({ pid: process.pid }))
    .get(
      "/deliveries",
      ({ query: { before = null, limit = PAGE, ...filter } }) =>
        inbox.list(filter satisfies ListFilter, { before, limit }),
      { query: listQuery },
    )
    .get(
      "/deliveries/:id",
      async ({ params, query, status }) => {
        const found = await inbox.get(params.id);
        return found ? toJson(found, query.payload === true) : status(404, { error: "not_found" });
      },
      { params: t.Object({ id: t.String() }), query: t.Object({ payload: t.Optional(t.BooleanString()) }) },
    )
    .post(
      "/deliveries/:id/looked",
      async ({ params }) => {
        await inbox.looked(params.id);
        return {};
      },
      { params: t.Object({ id: t.String() }) },
    )
    .post(
      "/deliveries/:id/replay",
      async ({ params, query, status }) => {
        const found = await inbox.get(params.id);
        if (!found) return status(404, { error: "not_found" });
        if (found.body === null) return status(409, { error: "wiped" });
        const runs = match(found.type).filter(({ handler }) => !query.handler || handler === query.handler);
        if (runs.length === 0) return status(409, { error: "no_handler" });
        const replay = crypto.randomUUID();
        await inbox.replay(params.id, replay, runs);
        return { replay, handlers: runs.map(({ handler }) => handler) };
      },
      { params: t.Object({ id: t.String() }), query: t.Object({ handler: t.Optional(t.String()) }) },
    )
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
        return "error" in asked ? status(409, asked) : await inbox.addMissing(asked, query.after, MOST_PER_STEP);
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
          : await inbox.addReplays(asked, asked.handlers, replay, after, limit);
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

function toEnum<const Words extends readonly string[]>(words: Words) {
  return Object.fromEntries(words.map((word) => [word, word])) as { [Word in Words[number]]: Word };
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

function toJson({ body, ...delivery }: DeliveryView, whole: boolean): DeliveryJson {
  return whole ? { ...delivery, payload: body && new TextDecoder().decode(body) } : delivery;
}
