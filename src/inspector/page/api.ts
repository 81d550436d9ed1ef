// Asks the server. Every answer that is no 2xx becomes an `ApiError` with words for people; a 401 shows the sign-in page.

import { signal } from "@preact/signals";

import type { Listed, Replayable, ReplayStep, RunStates } from "../../inbox/queries.ts";
import type { DeliveryJson, HandlerJson, HealthJson, RefusedJson, SearchJson, SentJson, ServerJson } from "../types.ts";

/** The server has a token, and this browser has not given it. */
export const signedOut = signal(false);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** The server's own word for it: `wiped`. */
    readonly code: string,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean>;

export const api = {
  server: () => get<ServerJson>("server"),
  health: () => get<HealthJson>("health"),
  handlers: () => get<HandlerJson[]>("handlers"),
  refused: () => get<RefusedJson>("refused"),
  list: (query: Query, signal?: AbortSignal) => get<Listed>("deliveries", query, signal),
  search: (query: Query, signal?: AbortSignal) => get<SearchJson>("search", query, signal),
  delivery: (id: string, reveal: boolean, signal?: AbortSignal) =>
    get<DeliveryJson>(`deliveries/${encodeURIComponent(id)}`, { payload: true, ...(reveal && { reveal }) }, signal),
  looked: (id: string) => post<object>(`deliveries/${encodeURIComponent(id)}/looked`),
  replay: (id: string, handler?: string) =>
    post<{ replay: string; handlers: string[] }>(
      `deliveries/${encodeURIComponent(id)}/replay`,
      handler === undefined ? {} : { handler },
    ),
  retry: (run: number) => post<{ done: boolean }>(`runs/${run}/retry`),
  giveUp: (run: number) => post<{ done: boolean }>(`runs/${run}/give-up`),
  states: (query: Query) => get<RunStates>("runs", query),
  replayable: (query: Query, signal?: AbortSignal) => get<Replayable>("replays", query, signal),
  addReplays: (query: Query) => post<ReplayStep>("replays", query),
  send: (event: string, data?: Record<string, unknown>) => post<SentJson>("send", {}, { event, ...(data && { data }) }),
  signIn: (token: string) => post<null>("sign-in", {}, { token }),
  signOut: () => post<null>("sign-out"),
};

function get<Answer>(path: string, query: Query = {}, signal?: AbortSignal): Promise<Answer> {
  return ask(path, query, signal ? { signal } : {});
}

function post<Answer>(path: string, query: Query = {}, body?: object): Promise<Answer> {
  if (body === undefined) return ask(path, query, { method: "POST" });
  const headers = { "content-type": "application/json" };
  return ask(path, query, { method: "POST", headers, body: JSON.stringify(body) });
}

async function ask<Answer>(path: string, query: Query, init: RequestInit): Promise<Answer> {
  const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const response = await fetch(`/api/${path}${search.size > 0 ? `?${search}` : ""}`, init).catch((error: unknown) => {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "The server does not answer. Is it still running?", "unreachable");
  });
  if (response.status === 204) return null as Answer;
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as Answer;
  const { error = "", says } = (answer ?? {}) as { error?: string; says?: string };
  if (response.status === 401 && path !== "sign-in") signedOut.value = true;
  throw new ApiError(response.status, says ?? inWords(error, response.status), error);
}

const WORDS: Record<string, string> = {
  wiped: "Its payload is gone: it can't be replayed.",
  no_handler: "No handler matches this event: there is nothing to run.",
  not_found: "It is not stored here.",
  unknown_handler: "There is no such handler any more.",
  not_loaded: "The handler's file does not load, so nothing runs through it.",
  unavailable: "The inbox can't be read or written right now. Is the disk full?",
};

function inWords(code: string, status: number): string {
  return WORDS[code] ?? `The server answered ${status}${code ? ` (${code})` : ""}.`;
}
