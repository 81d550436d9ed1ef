// All the objects of a list that Clerk gives by pages, oldest first. The list changes while it is read: what is deleted
// moves everything after it to the left, so each page has to begin where the one before it ended, or is asked for again.

import { toMilliseconds } from "../clerk/time.ts";
import type { ClerkObject, Page, Span } from "./table.ts";

/** How far a list is read. */
export interface Cursor {
  offset: number;
  /** Of the last object, in milliseconds. */
  createdAt: number;
  /** Of the last object. */
  id?: string;
}

export interface ReadPage {
  objects: ClerkObject[];
  total: number;
  /** Our clock, before it was asked for. */
  readAt: number;
  /** Where to go on after it. */
  next: Cursor;
}

export const START: Cursor = { offset: 0, createdAt: 0 };
// Clerk's largest.
const LIMIT = 500;

/** Some objects may come twice, none that is there all the time is left out. */
export async function* readPages(
  list: (span: Span) => Promise<Page>,
  from: Cursor = START,
  limit: number = LIMIT,
): AsyncGenerator<ReadPage> {
  let { offset, createdAt, id } = from;
  // Of those with one `created_at`, only the last one itself shows that none of them is left out.
  const joins = (first: ClerkObject | undefined) =>
    first !== undefined && (createdAtOf(first) < createdAt || first["id"] === id);
  while (true) {
    // One back, so that the page shows whether it joins the last one.
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
