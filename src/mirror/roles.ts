// `clerk_roles`: the roles that members of organizations can have.

import { sorted } from "./lists.ts";
import { boolean, type ClerkObject, json, type Table, text, time } from "./table.ts";

export const roles: Table = {
  name: "roles",
  kind: "role",
  columns: {
    key: text(({ key }) => key, { index: true }),
    name: text(({ name }) => name),
    description: text(({ description }) => description),
    is_creator_eligible: boolean(({ is_creator_eligible }) => is_creator_eligible),
    permission_keys: json(keysOf),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: sorted("/organization_roles"),
  find: (get, { id }) => get(`/organization_roles/${id as string}`) as Promise<ClerkObject>,
};

/** Sorted, because Clerk's order differs between events and the API. */
function keysOf({ permissions }: ClerkObject): unknown {
  if (!Array.isArray(permissions)) return permissions;
  return (permissions as (ClerkObject | null)[]).map((permission) => String(permission?.["key"])).toSorted();
}
