// Keyboard shortcuts. Never handles a key while the user types in a field or is in a dialog.

import { dialog, go, openId, replaying, view } from "./state.ts";

export type Action = "next" | "previous" | "open" | "replay" | "search" | "help" | "send" | "back";

/** The shortcuts as the help dialog lists them. */
export const KEYS: readonly { keys: readonly string[]; description: string }[] = [
  { keys: ["j", "k"], description: "next and previous delivery" },
  { keys: ["enter"], description: "open it" },
  { keys: ["r"], description: "replay it" },
  { keys: ["s"], description: "send a sample" },
  { keys: ["/"], description: "search" },
  { keys: ["esc"], description: "close, or leave the search" },
  { keys: ["?"], description: "this help" },
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

/** Pure. `at` is the focused element: in a field only esc is a shortcut; buttons and links handle enter themselves. */
export function actionOf(press: Press, at: "field" | "control" | "row" | "page"): Action | null {
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  const action = ACTIONS[press.key] ?? null;
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

/** Moves the focus to the next row; when a delivery is open, opens the next one instead. */
function move(by: 1 | -1): boolean {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const at = rows.findIndex((row) => row.dataset["row"] === currentRow());
  const next = at < 0 ? rows[0] : rows[at + by];
  if (!next) return false;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  // On a narrow screen the list is hidden while a delivery is open.
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
