// What a list may be narrowed by, as the routes read it from a query.

import { t } from "elysia";

/** What `state` may be in a list. */
export const LIST_STATES = ["waiting", "running", "done", "dead", "skipped", "parked", "unhandled"] as const;

export const narrow = {
  type: t.Optional(t.String()),
  subject: t.Optional(t.String()),
  handler: t.Optional(t.String()),
  since: t.Optional(t.Numeric()),
  until: t.Optional(t.Numeric()),
};

export const filter = {
  ...narrow,
  id: t.Optional(t.String()),
  state: t.Optional(t.Enum(toEnum(LIST_STATES))),
};

function toEnum<const Words extends readonly string[]>(words: Words) {
  return Object.fromEntries(words.map((word) => [word, word])) as { [Word in Words[number]]: Word };
}
