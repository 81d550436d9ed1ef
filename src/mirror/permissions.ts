// `clerk_permissions`: what a role may allow.

import { sorted } from "./lists.ts";
import { type ClerkObject, type Table, text, time } from "./table.ts";

export const permissions: Table = {
  name: "permissions",
  kind: "permission",
  columns: {
    key: text(({ key }) => key, { index: true }),
    name: text(({ name }) => name),
    description: text(({ description }) => description),
    type: text(({ type }) => type),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: sorted("/organization_permissions"),
  find: (get, { id }) => get(`/organization_permissions/${id as string}`) as Promise<ClerkObject>,
};
