// The problems of the server: failures with the same cause. Loaded along with the other updates of the feed.

import { computed, effect, signal } from "@preact/signals";

import { problemsApi } from "./problems-client.ts";
import { remote } from "./remote.tsx";
import { view } from "./state.ts";
import { throttled } from "./throttled.ts";

export const problems = remote((aborted) => problemsApi.list(aborted));

/** How many need attention; null before they are known. */
export const openProblems = computed(
  () => problems.value.value?.filter(({ state, muted }) => state === "open" && !muted).length ?? null,
);

/** Counting reads runs that are not done, so it is done now and then. */
export const refreshProblems = throttled(3_000, () => problems.load());

/** The view at `/`. Decided once when it is opened: a page that changes by itself would take away what a person reads. */
export const shownAtHome = signal<"problems" | "deliveries">("deliveries");

let isDecided = false;
effect(() => {
  const open = openProblems.value;
  if (view.value.page !== "home") isDecided = false;
  else if (!isDecided && open !== null) {
    isDecided = true;
    shownAtHome.value = open > 0 ? "problems" : "deliveries";
  }
});
