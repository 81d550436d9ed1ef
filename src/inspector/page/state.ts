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

/** The state of the feed's connection. */
export const connection = signal<"connecting" | "live" | "lost">("connecting");

/** The person has stopped the list: changes wait until they resume it. */
export const isPaused = signal(false);

/** Ticks each second, for countdowns and ages. */
export const now = signal(Date.now());

/** Which dialog is open. */
export const dialog = signal<"send" | "bulk" | "replay" | "edit" | "try" | "help" | null>(null);

/** The delivery of the dialogs `replay`, `edit` and `try`. */
export const actingOn = signal<string | null>(null);

export function act(what: "replay" | "edit" | "try", id: string) {
  actingOn.value = id;
  dialog.value = what;
}

/** The server runs real handlers on real data. */
export const isProduction = computed(() => server.value?.mode === "start");

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
  go(
    { page: "deliveries", filter: next, problem: null, id: view.value.page === "deliveries" ? view.value.id : null },
    how,
  );
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

/** Each part is shown as soon as it is loaded, and a part that fails does not hide the others. */
export async function loadServer() {
  const parts = [
    api.server().then((found) => (server.value = found)),
    api.handlers().then((found) => (handlers.value = found)),
    api.health().then((found) => (health.value = found)),
    api.refused().then((found) => (refused.value = found)),
  ];
  await Promise.all(parts);
}

/** Removes all conditions. */
export const NOTHING: { [Name in keyof Filter]: undefined } = Object.fromEntries(
  FILTER_NAMES.map((name) => [name, undefined]),
);
