// Sends requests to the server. Every answer other than 2xx becomes an `ApiError` with a message for people; a 401
// shows the sign-in page.

import { signal } from "@preact/signals";

import type {
  BulkJobJson,
  ChangesJson,
  ChartWindow,
  DeliveryJson,
  ErrorJson,
  HandlerJson,
  HealthJson,
  ListJson,
  PeopleJson,
  RefusedJson,
  ReplayCount,
  ReplayedJson,
  SearchJson,
  SentJson,
  ServerJson,
  ServerRowJson,
  TriedJson,
} from "../../api/types.ts";

/** Since when requests get no answer; null while they do. */
export const unreachableSince = signal<number | null>(null);

/** The server requires a token, and this browser has no session. */
export const signedOut = signal(false);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** The error code of the server: `wiped`. */
    readonly code: string,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean>;

export const api = {
  server: () => get<ServerJson>("server"),
  health: (window: ChartWindow = "1h") => get<HealthJson>("health", { window }),
  handlers: () => get<HandlerJson[]>("handlers"),
  servers: () => get<ServerRowJson[]>("servers"),
  refused: () => get<RefusedJson>("refused"),
  list: (query: Query, signal?: AbortSignal) => get<ListJson>("deliveries", { ...query, who: true }, signal),
  search: (query: Query, signal?: AbortSignal) => get<SearchJson>("search", query, signal),
  matching: (query: Query, ids: readonly string[]) => post<{ ids: string[] }>("deliveries/matching", query, { ids }),
  people: (query: Query, signal?: AbortSignal) => get<PeopleJson>("people", query, signal),
  delivery: (id: string, reveal: boolean, signal?: AbortSignal) =>
    get<DeliveryJson>(one(id), { payload: true, ...(reveal && { reveal }) }, signal),
  runs: (id: string, signal?: AbortSignal) => get<DeliveryJson>(one(id), {}, signal),
  changes: (id: string, signal?: AbortSignal) => get<ChangesJson>(`${one(id)}/changes`, {}, signal),
  curl: (id: string) => get<{ command: string }>(`${one(id)}/curl`),
  tryHandler: (id: string, handler: string) => post<TriedJson>(`${one(id)}/try`, { handler }),
  edited: (id: string, event: object) => post<SentJson>(`${one(id)}/edited`, {}, { event }),
  replay: (id: string, which: { handler?: string; dead?: boolean } = {}) =>
    post<ReplayedJson>(`${one(id)}/replay`, which),
  retry: (run: number) => post<{ done: boolean }>(`runs/${run}/retry`),
  giveUp: (run: number) => post<{ done: boolean }>(`runs/${run}/give-up`),
  countReplay: (query: Query, signal?: AbortSignal) => get<ReplayCount>("replays", query, signal),
  startBulk: (query: Query) => post<BulkJobJson>("bulk", query),
  startBulkOf: (ids: readonly string[], query: Query) => post<BulkJobJson>("bulk/deliveries", query, { ids }),
  bulk: (job?: string) => get<{ job: BulkJobJson | null }>("bulk", job === undefined ? {} : { job }),
  stopBulk: (job: string) => post<{ job: BulkJobJson | null }>("bulk/stop", { job }),
  pause: (handler: string) => post<unknown>("pause", { handler }),
  resume: (handler: string) => post<unknown>("resume", { handler }),
  send: (event: string, data?: Record<string, unknown>) => post<SentJson>("send", {}, { event, ...(data && { data }) }),
  signIn: (token: string) => post<null>("sign-in", {}, { token }),
  signOut: () => post<null>("sign-out"),
};

function one(id: string): string {
  return `deliveries/${encodeURIComponent(id)}`;
}

export function get<Answer>(path: string, query: Query = {}, signal?: AbortSignal): Promise<Answer> {
  return ask(path, query, signal ? { signal } : {});
}

export function post<Answer>(path: string, query: Query = {}, body?: object): Promise<Answer> {
  if (body === undefined) return ask(path, query, { method: "POST" });
  const headers = { "content-type": "application/json" };
  return ask(path, query, { method: "POST", headers, body: JSON.stringify(body) });
}

async function ask<Answer>(path: string, query: Query, init: RequestInit): Promise<Answer> {
  const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const response = await fetch(`/api/${path}${search.size > 0 ? `?${search}` : ""}`, init).catch((error: unknown) => {
    if (init.signal?.aborted) throw error;
    unreachableSince.value ??= Date.now();
    throw new ApiError(0, "The server does not answer. Is it still running?", "unreachable");
  });
  unreachableSince.value = null;
  if (response.status === 204) return null as Answer;
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as Answer;
  const { error = "", message } = (answer ?? {}) as Partial<ErrorJson>;
  if (response.status === 401 && path !== "sign-in") signedOut.value = true;
  throw new ApiError(response.status, message ?? describeError(error, response.status), error);
}

const MESSAGES: Record<string, string> = {
  wiped: "Its payload is deleted, so it can't be replayed.",
  no_handler: "No handler matches this event.",
  not_found: "It is not stored here.",
  unknown_handler: "There is no such handler any more.",
  not_loaded: "The handler's file does not load, so it can't run.",
  unavailable: "The inbox can't be read or written right now. Is the disk full?",
};

function describeError(code: string, status: number): string {
  return MESSAGES[code] ?? `The server answered ${status}${code ? ` (${code})` : ""}.`;
}
