// Reads from a request's query which deliveries and handlers it selects. One set of parameters for lists, search and
// replays.

import { t } from "elysia";

import { matchesPattern } from "../../clerk/pattern.ts";
import type { DeliveryFilter, DeliveryView, KnownHandler, ReplaySelection } from "../../inbox/views.ts";
import { deadHandlers } from "../latest-runs.ts";
import type { HandlerTrouble } from "../types.ts";

/** A handler as the API needs it. */
export interface ApiHandler {
  name: string;
  lane: string;
  /** Its event or pattern. */
  event: string;
  /** Missing while no server has loaded a version of its file. */
  code?: unknown;
  /** Its current file does not load. */
  error?: { where: string; message: string };
}

/** The values of the parameter `state`. */
export const DELIVERY_STATES = [
  "waiting",
  "retrying",
  "running",
  "done",
  "dead",
  "skipped",
  "parked",
  "unhandled",
] as const;

export const filterParameters = {
  id: t.Optional(t.String()),
  type: t.Optional(t.String()),
  subject: t.Optional(t.String()),
  handler: t.Optional(t.String()),
  state: t.Optional(t.Enum(toEnum(DELIVERY_STATES))),
  problem: t.Optional(t.String()),
  since: t.Optional(t.Numeric()),
  until: t.Optional(t.Numeric()),
  /** The name of a handler. */
  neverSeenBy: t.Optional(t.String()),
};

type FilterQuery = Omit<DeliveryFilter, "neverSeenBy"> & { neverSeenBy?: string };

/** The filter of a list. */
export function readFilter(query: FilterQuery, handlers: readonly ApiHandler[]): DeliveryFilter | HandlerTrouble {
  const { neverSeenBy: name, ...filter } = query;
  if (name === undefined) return filter;
  const handler = handlers.find((known) => known.name === name);
  return handler ? { ...filter, neverSeenBy: toKnown(handler) } : unknownHandler(handlers);
}

/**
 * The runs of a bulk replay. A handler that the query names has to exist and to load. Of a problem, only dead runs are
 * replayed: the others are retried by themselves.
 */
export function readSelection(
  { stale = false, ...query }: FilterQuery & { stale?: boolean },
  handlers: readonly ApiHandler[],
): ReplaySelection | HandlerTrouble {
  const { handler: wanted, neverSeenBy } = query;
  for (const name of [wanted, neverSeenBy]) {
    if (name == null) continue;
    const handler = handlers.find((known) => known.name === name);
    if (!handler) return unknownHandler(handlers);
    if (handler.error) return { error: "not_loaded", where: handler.error.where, reason: handler.error.message };
  }
  const filter = readFilter(query.problem == null ? query : { ...query, state: "dead" }, handlers);
  if ("error" in filter) return filter;
  return { filter, handlers: filter.neverSeenBy ? [filter.neverSeenBy] : handlers.map(toKnown), stale };
}

/** The handlers in which a replay runs a delivery. `dead`: only those whose latest run is dead. */
export function handlersFor(
  { type, runs }: Pick<DeliveryView, "type" | "runs">,
  handlers: readonly ApiHandler[],
  { handler, dead = false }: { handler?: string | undefined; dead?: boolean | undefined },
): KnownHandler[] {
  const failed = new Set(deadHandlers(runs));
  return handlers
    .filter(({ name, event }) => matchesPattern(event, type) && (handler === undefined || name === handler))
    .filter(({ name }) => !dead || failed.has(name))
    .map(toKnown);
}

export function toKnown({ name, lane, event, code }: ApiHandler): KnownHandler {
  return { handler: name, lane, event, parked: code === undefined };
}

export function unknownHandler(handlers: readonly ApiHandler[]): HandlerTrouble {
  return { error: "unknown_handler", handlers: handlers.map(({ name }) => name) };
}

/** An enum of TypeBox from a list of texts. */
export function toEnum<const Values extends readonly string[]>(values: Values) {
  return Object.fromEntries(values.map((value) => [value, value])) as { [Value in Values[number]]: Value };
}
