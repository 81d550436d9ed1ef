// The state of the page: view, server, handlers, health and refused requests, one signal each.

import { computed, signal } from "@preact/signals";

import type { HandlerJson, HealthJson, RefusedJson, ServerJson } from "../../api/types.ts";
import { messageOf } from "../../errors.ts";
import { api, signedOut } from "./api.ts";
import { type Filter, FILTER_NAMES } from "./filter.ts";
import { readView, type View, writeView } from "./view-url.ts";

export const view = signal<View>(readView(location));
export const filter = computed<Filter>(() => view.value.filter);
/** Changes with the filter, and not when a delivery is opened. */
export const narrowing = computed(() => JSON.stringify(filter.value));
export const openId = computed(() => view.value.id);

export const server = signal<ServerJson | null>(null);
export const handlers = signal<HandlerJson[] | null>(null);
export const health = signal<HealthJson | null>(null);
export const refused = signal<RefusedJson | null>(null);

/** How many runs are dead, as far as they were counted; null before that. */
export const deadRuns = signal<{ found: number; more: boolean } | null>(null);

/** The state of the feed's connection. */
export const connection = signal<"connecting" | "live" | "lost" | "paused">("connecting");

/** Ticks each second, for countdowns and ages. */
export const now = signal(Date.now());

/** Which dialog is open. */
export const dialog = signal<"send" | "bulk" | "replay" | "help" | null>(null);

/** The delivery of the `replay` dialog. */
export const replaying = signal<string | null>(null);

/** The latest notice, shown and announced to screen readers. */
export const notice = signal<{ text: string; bad: boolean; link?: { text: string; id: string } } | null>(null);

export function narrowed(filter: Filter): boolean {
  return FILTER_NAMES.some((name) => filter[name]);
}

/** Navigates, with a history entry; `replace` adds none, as for each character that the user types. */
export function go(to: Partial<View>, { replace = false } = {}) {
  const next = { ...view.value, ...to };
  if (writeView(next) === writeView(view.value)) return;
  history[replace ? "replaceState" : "pushState"](null, "", writeView(next));
  view.value = next;
}

/** Changes the filter; `undefined` removes a condition. */
export function narrow(change: { [Name in keyof Filter]?: Filter[Name] | undefined }, how: { replace?: boolean } = {}) {
  const next: Filter = {};
  for (const name of FILTER_NAMES) {
    const value = name in change ? change[name] : view.value.filter[name];
    if (value) next[name] = value;
  }
  go({ page: "deliveries", filter: next }, how);
}

export function notify(text: string, more: { bad?: boolean; link?: { text: string; id: string } } = {}) {
  notice.value = { text, bad: more.bad ?? false, ...(more.link && { link: more.link }) };
}

/** Runs `work` and shows its error as a notice. Returns whether it succeeded. */
export async function attempt(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    // An aborted request is not an error, and a client without a session sees the sign-in page.
    if (!(error instanceof DOMException && error.name === "AbortError") && !signedOut.value)
      notify(messageOf(error), { bad: true });
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
  const [about, table, hour, refusals] = await Promise.all([api.server(), api.handlers(), api.health(), api.refused()]);
  server.value = about;
  handlers.value = table;
  health.value = hour;
  refused.value = refusals;
}
