// Reads a paginated list of Clerk's, oldest first. The list changes meanwhile: a deletion shifts everything after it,
// so each page has to begin with the last object of the previous page, or is requested again further left.

import { toMilliseconds } from "../clerk/milliseconds.ts";
import type { ClerkObject, Page, Span } from "./table.ts";

/** The position in a list. */
export interface Cursor {
  offset: number;
  /** `created_at` of the last object, in milliseconds. */
  createdAt: number;
  /** The id of the last object. */
  id?: string;
}

export interface ReadPage {
  objects: ClerkObject[];
  total: number;
  /** The local clock before the request. */
  readAt: number;
  /** The cursor after this page. */
  next: Cursor;
}

export const START: Cursor = { offset: 0, createdAt: 0 };
// Clerk's maximum.
const LIMIT = 500;

/** May yield an object twice, but never omits one that exists all the time. */
export async function* readPages(
  list: (span: Span) => Promise<Page>,
  from: Cursor = START,
  limit: number = LIMIT,
): AsyncGenerator<ReadPage> {
  let { offset, createdAt, id } = from;
  // Among objects with the same `created_at`, only the last object itself proves that none was omitted.
  const joins = (first: ClerkObject | undefined) =>
    first !== undefined && (createdAtOf(first) < createdAt || first["id"] === id);
  while (true) {
    // Overlap by one object, to check that the page continues the previous one.
    const at = Math.max(0, offset - 1);
    const readAt = Date.now();
    const { objects, total } = await list({ limit, offset: at });
    const [first] = objects;
    if (at > 0 && !joins(first)) {
      offset = Math.max(0, at - limit + 1);
      continue;
    }
    const last = objects.at(-1);
    if (last) [createdAt, id] = [Math.max(createdAt, createdAtOf(last)), last["id"] as string];
    offset = at + objects.length;
    yield { objects, total, readAt, next: { offset, createdAt, ...(id !== undefined && { id }) } };
    if (objects.length < limit) return;
  }
}

export function createdAtOf(object: ClerkObject): number {
  return toMilliseconds(object["created_at"]) ?? 0;
}
