// How Clerk's API lists objects: a page and a total. Makes every list one that is oldest first, as backfill and drift
// need it.

import type { Get, Query } from "../clerk/requests.ts";
import type { ClerkObject, Page, Source, Span } from "./table.ts";

/** A page of a list that Clerk answers with its total. */
export async function pageOf(get: Get, path: string, query: Query): Promise<Page> {
  const { data, total_count } = (await get(path, query)) as { data: ClerkObject[]; total_count: number };
  return { objects: data, total: total_count };
}

/** A list that Clerk sorts by `created_at` on request. */
export function sorted(path: string): Source {
  return { requests: 1, list: (get, span) => pageOf(get, path, { ...span, order_by: "+created_at" }) };
}

/** A list that Clerk always sorts newest first, read from its end. */
export function newestFirst(path: string, query: Query = {}): Source {
  async function list(get: Get, { limit, offset }: Span): Promise<Page> {
    const page = (span: Span) => pageOf(get, path, { ...query, ...span, paginated: true });
    while (true) {
      const { total } = await page({ limit: 1, offset: 0 });
      const upTo = Math.max(0, total - offset);
      if (upTo === 0) return { objects: [], total };
      const from = Math.max(0, upTo - limit);
      const read = await page({ limit: upTo - from, offset: from });
      // An object that was added or deleted between the two requests has shifted the page.
      if (read.total === total) return { objects: read.objects.toReversed(), total };
    }
  }
  return { requests: 2, list };
}
