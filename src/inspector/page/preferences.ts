// The choices of a person in this browser: theme, editor, and which refused requests were seen. Kept in localStorage,
// never sent to the server. Without a storage, as in some private windows, it lasts until the page is closed.

import { effect, type Signal, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
export type Editor = "none" | "vscode" | "cursor" | "zed";

export const THEMES: readonly Theme[] = ["auto", "light", "dark"];
export const EDITORS: Record<Editor, string> = { none: "none", vscode: "VS Code", cursor: "Cursor", zed: "Zed" };

export const theme = stored<Theme>("theme", "auto");
/** Undecided until a person has chosen once. */
export const editor = stored<Editor | "ask">("editor", "ask");
/** Unix time in milliseconds: refused requests up to then need no attention. */
export const refusedSeenAt = stored<number>("refused-seen-at", 0);

export function followTheme() {
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  });
}

function stored<Value extends string | number>(name: string, initial: Value): Signal<Value> {
  const key = `bellhop.${name}`;
  const chosen = signal(read());
  effect(() => {
    try {
      if (chosen.value === initial) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify(chosen.value));
    } catch {
      // The browser keeps no data for this page.
    }
  });
  // Other tabs follow.
  addEventListener("storage", (event: StorageEvent) => {
    if (event.key === key) chosen.value = read();
  });
  return chosen;

  function read(): Value {
    try {
      const value: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
      return typeof value === typeof initial ? (value as Value) : initial;
    } catch {
      return initial;
    }
  }
}
