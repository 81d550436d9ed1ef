// Links out of the page: to a line in the editor, and to a user or an organization in Clerk's Dashboard. Pure.

import type { Editor } from "./preferences.ts";

/** A URL that opens a place in the editor. `root` is absolute, `file` relative to it. */
export function editorUrl(editor: Editor, root: string, file: string, line: number, column = 1): string | null {
  const path = encodeURI(`${root.replaceAll("\\", "/").replace(/\/$/, "")}/${file}`);
  if (editor === "zed") return `zed://file${path}:${line}:${column}`;
  return editor === "none" ? null : `${editor}://file${path}:${line}:${column}`;
}

// `last-active` opens the instance that the person used last in the Dashboard; Clerk's own documentation links so.
const DASHBOARD = "https://dashboard.clerk.com/last-active?path=";

/** The page of a user or an organization in Clerk's Dashboard; null for other objects, which have none. */
export function dashboardUrl(id: string): string | null {
  if (/^user_\w+$/.test(id)) return `${DASHBOARD}users/${id}`;
  if (/^org_\w+$/.test(id)) return `${DASHBOARD}organizations/${id}`;
  return null;
}
