// The keyboard: which key does what, and doing it. Nothing here takes a key from somebody who types or is in a dialog.

import { dialog, go, openId, replaying, view } from "./state.ts";

export type Action = "next" | "previous" | "open" | "replay" | "search" | "help" | "send" | "back";

/** What the help sheet says. */
export const KEYS: readonly { keys: readonly string[]; says: string }[] = [
  { keys: ["j", "k"], says: "next and previous delivery" },
  { keys: ["enter"], says: "open it" },
  { keys: ["r"], says: "replay it" },
  { keys: ["s"], says: "send a sample" },
  { keys: ["/"], says: "search" },
  { keys: ["esc"], says: "close, or leave the search" },
  { keys: ["?"], says: "this help" },
];

const ACTIONS: Record<string, Action> = {
  j: "next",
  k: "previous",
  Enter: "open",
  r: "replay",
  s: "send",
  "/": "search",
  "?": "help",
  Escape: "back",
};

interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

/** Pure. `at` is where the key was pressed: in a field only esc counts, on a button or link enter is its own. */
export function actionOf(press: Press, at: "field" | "control" | "row" | "page"): Action | null {
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  const action = ACTIONS[press.key] ?? null;
  if (at === "field") return action === "back" ? action : null;
  // A row's link opens it by itself.
  if (action === "open" && at !== "page") return null;
  return action;
}

export function listenToKeys() {
  addEventListener("keydown", (event: KeyboardEvent) => {
    // A dialog has its own keys, and esc closes it.
    if (dialog.value !== null || event.defaultPrevented) return;
    const action = actionOf(event, placeOf(event.target));
    if (action === null || !act(action, event.target)) return;
    event.preventDefault();
  });
}

function act(action: Action, target: EventTarget | null): boolean {
  if (action === "help" || action === "send") dialog.value = action;
  else if (action === "replay") return replay();
  else if (action === "back") return back(target);
  else if (view.value.page !== "deliveries") return false;
  else if (action === "search") document.querySelector<HTMLElement>("#search")?.focus();
  else if (action === "open") return open();
  else return move(action === "next" ? 1 : -1);
  return true;
}

/** To the next row; when one is open, the next one is opened in its place. */
function move(by: 1 | -1): boolean {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const at = rows.findIndex((row) => row.dataset["row"] === currentRow());
  const next = at < 0 ? rows[0] : rows[at + by];
  if (!next) return false;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  // On a narrow screen the list is not there while one is open.
  const id = next.dataset["row"];
  if (openId.value !== null && id) go({ id }, { replace: true });
  return true;
}

function open(): boolean {
  const id = currentRow() ?? document.querySelector<HTMLElement>("[data-row]")?.dataset["row"];
  if (!id) return false;
  go({ id });
  return true;
}

function replay(): boolean {
  const id = openId.value ?? currentRow();
  if (!id || view.value.page !== "deliveries") return false;
  replaying.value = id;
  dialog.value = "replay";
  return true;
}

function back(target: EventTarget | null): boolean {
  if (target instanceof HTMLElement && placeOf(target) === "field") {
    target.blur();
    return true;
  }
  const id = openId.value;
  if (id === null) return false;
  go({ id: null });
  document.querySelector<HTMLElement>(`[data-row="${CSS.escape(id)}"]`)?.focus({ preventScroll: true });
  return true;
}

function currentRow(): string | null {
  const focused = document.activeElement;
  return (focused instanceof HTMLElement ? focused.dataset["row"] : undefined) ?? openId.value;
}

function placeOf(target: EventTarget | null): "field" | "control" | "row" | "page" {
  if (!(target instanceof HTMLElement)) return "page";
  if (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio])"))
    return "field";
  if (target.dataset["row"] !== undefined) return "row";
  return target.matches("a, button, summary, input") ? "control" : "page";
}
