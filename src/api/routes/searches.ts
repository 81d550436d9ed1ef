// Searches of stored deliveries: for texts and people, which deliveries a filter selects, and what changed between two.

import { Elysia, t } from "elysia";

import type { ApiOptions } from "../app.ts";
import { withWho } from "../listed.ts";
import { diffPayloads } from "../payload-diff.ts";
import { findPeople } from "../people.ts";
import { matcher, search } from "../search.ts";
import type { ChangesJson } from "../types.ts";
import { filterParameters, readFilter } from "./selection.ts";

const PAGE = 50;
const MAX_IDS = 200;
const MAX_TEXTS = 20;

const textParameters = {
  text: t.Optional(t.String({ minLength: 1, maxLength: 200 })),
  /** More texts, separated by line breaks: a delivery is found when it contains one of them. */
  also: t.Optional(t.String({ maxLength: 4_000 })),
};
const searchQuery = t.Object({
  ...filterParameters,
  ...textParameters,
  text: t.String({ minLength: 1, maxLength: 200 }),
  before: t.Optional(t.Numeric()),
  searched: t.Optional(t.Numeric({ minimum: 0 })),
  limit: t.Optional(t.Numeric({ minimum: 1, maximum: 200 })),
});
const peopleQuery = t.Object({ text: t.String({ minLength: 1, maxLength: 200 }), before: t.Optional(t.Numeric()) });
const matchingBody = t.Object({ ids: t.Array(t.String({ maxLength: 256 }), { maxItems: MAX_IDS }) });

function textsOf(text: string | undefined, also: string | undefined): string[] {
  return [text ?? "", ...(also ?? "").split("\n")].filter((wanted) => wanted !== "").slice(0, MAX_TEXTS);
}

export function searchRoutes({ inbox, handlers }: Pick<ApiOptions, "inbox" | "handlers">) {
  return (
    new Elysia()
      .get(
        "/search",
        async ({ query, request: { signal }, status }) => {
          const { text, also, before = null, searched = 0, limit = PAGE, ...selection } = query;
          const filter = readFilter(selection, handlers());
          if ("error" in filter) return status(409, filter);
          const texts = textsOf(text, also);
          return await withWho(inbox, await search(inbox, { texts, filter, before, searched, limit, signal }));
        },
        { query: searchQuery },
      )
      .get(
        "/people",
        ({ query: { text, before = null }, request: { signal } }) => findPeople(inbox, text, { before, signal }),
        { query: peopleQuery },
      )
      // The page asks which changed deliveries its filter selects. A GET would be too long for 200 ids.
      .post(
        "/deliveries/matching",
        async ({ query: { text, also, ...selection }, body: { ids }, status }) => {
          const filter = readFilter(selection, handlers());
          if ("error" in filter) return status(409, filter);
          const texts = textsOf(text, also);
          const isMatch = texts.length === 0 ? () => true : matcher(texts);
          const matching: string[] = [];
          for (const id of ids) {
            if (filter.id && filter.id !== id) continue;
            const [found] = (await inbox.list({ ...filter, id }, { before: null, limit: 1 })).deliveries;
            const [content] = found && texts.length > 0 ? await inbox.contents([found.arrival]) : [];
            if (found && (!content || isMatch(content))) matching.push(id);
          }
          return { ids: matching };
        },
        { query: t.Object({ ...filterParameters, ...textParameters }), body: matchingBody },
      )
      .get(
        "/deliveries/:id/changes",
        async ({ params: { id }, status }) => {
          const found = await inbox.get(id);
          if (!found) return status(404, { error: "not_found" });
          const none: ChangesJson = { previous: null, changes: [] };
          if (found.body === null || found.subject === null) return none;
          const previous = await previousOf(found);
          const before = previous && (await inbox.get(previous.id));
          if (!before?.body) return none;
          const text = (body: Uint8Array) => new TextDecoder().decode(body);
          const { type, at } = before;
          return {
            previous: { id: before.id, type, at },
            changes: diffPayloads(text(before.body), text(found.body)),
          } satisfies ChangesJson;
        },
        { params: t.Object({ id: t.String({ maxLength: 256 }) }) },
      )
  );

  /** The latest earlier event of the same subject and kind, in event order. */
  async function previousOf({
    id,
    subject,
    type,
    at,
  }: {
    id: string;
    subject: string | null;
    type: string;
    at: number;
  }) {
    const pattern = `${type.split(".")[0]}.*`;
    const { deliveries } = await inbox.list({ subject, type: pattern }, { before: null, limit: MAX_IDS });
    const arrival = deliveries.find((delivery) => delivery.id === id)?.arrival ?? Infinity;
    return deliveries
      .filter((other) => other.at < at || (other.at === at && other.arrival < arrival))
      .toSorted((a, b) => a.at - b.at || a.arrival - b.arrival)
      .at(-1);
  }
}
