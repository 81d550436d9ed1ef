// How a delivery is recognised that was edited in the inspector and sent under a new id. Shared with the page.

/** Svix's ids continue with digits and letters. */
export const EDITED_PREFIX = "msg_edited_";

export function isEdited(id: string): boolean {
  return id.startsWith(EDITED_PREFIX);
}

/** The delivery that was edited, from the user agent of the request. */
export function originalOf(headers: Record<string, string> | null): string | null {
  return /\(edited from ([^)]+)\)$/.exec(headers?.["user-agent"] ?? "")?.[1] ?? null;
}
