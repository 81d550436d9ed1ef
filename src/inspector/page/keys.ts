// Keyboard shortcuts, the same on every view. Never handles a key while the person types in a field or is in a dialog.

import { opened } from "./opened.ts";
import { stepProblem } from "./problem-steps.tsx";
import { release } from "./rows.ts";
import { act, attempt, dialog, filter, go, isPaused, narrow, notify, openId, view } from "./state.ts";
import { PAGES } from "./view-url.ts";

/** The shortcuts as the help dialog lists them. */
export const KEYS: readonly { keys: readonly string[]; description: string }[] = [
  { keys: ["1", "2", "3", "4"], description: "problems, deliveries, handlers, refused" },
  { keys: ["j", "k"], description: "next and previous row" },
  { keys: ["enter"], description: "open it" },
  { keys: ["n", "p"], description: "next and previous delivery of the problem" },
  { keys: ["r"], description: "replay: run again what failed" },
  { keys: ["t"], description: "try: a dry run" },
  { keys: ["e"], description: "edit and run" },
  { keys: ["c"], description: "copy the link to this view" },
  { keys: ["d"], description: "show what is dead, or everything again" },
  { keys: ["l"], description: "pause the list, or resume it" },
  { keys: ["s"], description: "send a sample" },
  { keys: ["/"], description: "search" },
  { keys: ["esc"], description: "close, or leave the search" },
  { keys: ["?"], description: "this help" },
];

export type Action = keyof typeof WORK | "back";

const ACTIONS = new Map<string, Action>([
  ...Object.entries({ j: "next", k: "previous", Enter: "open", n: "nextOfProblem", p: "previousOfProblem" } as const),
  ...Object.entries({ r: "replay", t: "try", e: "edit", c: "copy", d: "dead", l: "pause", s: "send" } as const),
  ...Object.entries({ "/": "search", "?": "help", Escape: "back" } as const),
  ...Object.entries({ "1": "problems", "2": "deliveries", "3": "handlers", "4": "refused" } as const),
]);

/** Each returns whether there was something to do. */
const WORK = {
  next: () => move(1),
  previous: () => move(-1),
  open: () => openRow(),
  nextOfProblem: () => stepProblem(1),
  previousOfProblem: () => stepProblem(-1),
  replay: () => actOnOpen("replay"),
  try: () => actOnOpen("try"),
  edit: () => actOnOpen("edit"),
  copy: () => copyLink(),
  dead: () => done(() => narrow({ state: filter.value.state === "dead" ? undefined : "dead" })),
  pause: () => done(togglePause),
  send: () => done(() => (dialog.value = "send")),
  help: () => done(() => (dialog.value = "help")),
  search: () => search(),
  problems: () => toPage(0),
  deliveries: () => toPage(1),
  handlers: () => toPage(2),
  refused: () => toPage(3),
};

interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

/** Pure. `at` is the focused element: in a field only esc is a shortcut; buttons and links handle enter themselves. */
export function actionOf(press: Press, at: "field" | "control" | "row" | "page"): Action | null {
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  const action = ACTIONS.get(press.key) ?? null;
  if (at === "field") return action === "back" ? action : null;
  // The link of a row handles enter itself.
  if (action === "open" && at !== "page") return null;
  return action;
}

export function listenToKeys() {
  addEventListener("keydown", (event: KeyboardEvent) => {
    // A dialog handles its own keys, esc included.
    if (dialog.value !== null || event.defaultPrevented) return;
    const action = actionOf(event, placeOf(event.target));
    if (action === null) return;
    if (action === "back" ? back(event.target) : WORK[action]()) event.preventDefault();
  });
}

function done(work: () => unknown): true {
  work();
  return true;
}

/** Moves the focus to the next row; when a delivery is open beside the rows, opens the next one instead. */
function move(by: 1 | -1): boolean {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const at = rows.findIndex((row) => row.dataset["row"] === currentRow());
  const next = at < 0 ? rows[0] : rows[at + by];
  if (!next) return false;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  // On a narrow screen the list is hidden while a delivery is open.
  const id = next.dataset["row"];
  if (openId.value !== null && id && view.value.page === "deliveries") go({ id }, { replace: true });
  return true;
}

function openRow(): boolean {
  const id = currentRow();
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const row = rows.find((candidate) => candidate.dataset["row"] === id) ?? rows[0];
  row?.click();
  return row !== undefined;
}

function actOnOpen(what: "replay" | "edit" | "try"): boolean {
  const { page } = view.value;
  const id = (page === "person" ? null : openId.value) ?? (page === "problems" ? null : currentRow());
  if (!id || !["home", "deliveries", "problems", "person"].includes(page)) return false;
  // Without a payload there is nothing to run.
  if (opened.value?.id === id && opened.value.payload === null) return false;
  act(what, id);
  return true;
}

function copyLink(): true {
  void attempt(async () => {
    await navigator.clipboard.writeText(location.href);
    notify("Copied the link to this view.");
  });
  return true;
}

function togglePause() {
  isPaused.value = !isPaused.value;
  if (!isPaused.value) release();
}

function search(): boolean {
  if (view.value.page !== "deliveries") go({ page: "deliveries", id: null, problem: null });
  // The field appears with the view.
  setTimeout(() => document.querySelector<HTMLElement>("#search")?.focus());
  return true;
}

function toPage(index: number): true {
  go({ page: PAGES[index] ?? "deliveries", id: null, problem: null });
  return true;
}

function back(target: EventTarget | null): boolean {
  if (target instanceof HTMLElement && placeOf(target) === "field") {
    target.blur();
    return true;
  }
  const { id, problem, page } = view.value;
  if (page === "person") {
    history.back();
    return true;
  }
  if (id === null) return false;
  go({ id: null, problem: null });
  document.querySelector<HTMLElement>(`[data-row="${CSS.escape(problem ?? id)}"]`)?.focus({ preventScroll: true });
  return true;
}

function currentRow(): string | null {
  const focused = document.activeElement;
  return (focused instanceof HTMLElement ? focused.dataset["row"] : undefined) ?? view.value.problem ?? openId.value;
}

function placeOf(target: EventTarget | null): "field" | "control" | "row" | "page" {
  if (!(target instanceof HTMLElement)) return "page";
  if (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio])"))
    return "field";
  if (target.dataset["row"] !== undefined) return "row";
  return target.matches("a, button, summary, input, [role=treeitem]") ? "control" : "page";
}
