// What the whole page knows: the view, the server, the handlers, its health, what is refused. Each thing is one signal.

import { computed, signal } from "@preact/signals";

import type { HandlerJson, HealthJson, RefusedJson, ServerJson } from "../types.ts";
import { api, signedOut } from "./api.ts";
import { type Filter, FILTER_NAMES } from "./filter.ts";
import { readView, type View, writeView } from "./url.ts";

export const view = signal<View>(readView(location));
export const filter = computed<Filter>(() => view.value.filter);
/** Changes when the list is narrowed differently, and not when something is opened beside it. */
export const narrowing = computed(() => JSON.stringify(filter.value));
export const openId = computed(() => view.value.id);

export const server = signal<ServerJson | null>(null);
export const handlers = signal<HandlerJson[] | null>(null);
export const health = signal<HealthJson | null>(null);
export const refused = signal<RefusedJson | null>(null);

/** How the feed stands. */
export const connection = signal<"connecting" | "live" | "lost">("connecting");

/** Ticks each second, for countdowns and ages. */
export const now = signal(Date.now());

/** Which dialog is open. */
export const dialog = signal<"send" | "bulk" | "replay" | "help" | null>(null);

/** The delivery that `replay` is about. */
export const replaying = signal<string | null>(null);

/** The last thing that happened, said to everybody who looks or listens. */
export const notice = signal<{ text: string; bad: boolean; link?: { text: string; id: string } } | null>(null);

export function narrowed(filter: Filter): boolean {
  return FILTER_NAMES.some((name) => filter[name]);
}

/** Goes somewhere else, with a way back; `replace`: without one, as for every letter that somebody types. */
export function go(to: Partial<View>, { replace = false } = {}) {
  const next = { ...view.value, ...to };
  if (writeView(next) === writeView(view.value)) return;
  history[replace ? "replaceState" : "pushState"](null, "", writeView(next));
  view.value = next;
}

/** Changes what the list is narrowed by; `undefined` takes a part away. */
export function narrow(change: { [Name in keyof Filter]?: Filter[Name] | undefined }, how: { replace?: boolean } = {}) {
  const next: Filter = {};
  for (const name of FILTER_NAMES) {
    const value = name in change ? change[name] : view.value.filter[name];
    if (value) next[name] = value;
  }
  go({ page: "deliveries", filter: next }, how);
}

export function say(text: string, more: { bad?: boolean; link?: { text: string; id: string } } = {}) {
  notice.value = { text, bad: more.bad ?? false, ...(more.link && { link: more.link }) };
}

/** Does something, and says what went wrong with it. Returns whether it went well. */
export async function attempt(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    // What nobody waits for any more is no trouble, and who is signed out sees the sign-in page.
    if (!(error instanceof DOMException && error.name === "AbortError") && !signedOut.value)
      say(error instanceof Error ? error.message : String(error), { bad: true });
    return false;
  }
}

export function followAddress() {
  const read = () => {
    view.value = readView(location);
  };
  addEventListener("popstate", read);
  addEventListener("hashchange", read);
}

export async function loadServer() {
  const [about, table, hour, turnedAway] = await Promise.all([
    api.server(),
    api.handlers(),
    api.health(),
    api.refused(),
  ]);
  server.value = about;
  handlers.value = table;
  health.value = hour;
  refused.value = turnedAway;
}
