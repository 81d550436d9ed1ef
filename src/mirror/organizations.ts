// `clerk_organizations`.

import { pageOf, sorted } from "./lists.ts";
import { type ClerkObject, json, type Parent, type Table, text, time } from "./table.ts";

export const organizations: Table = {
  name: "organizations",
  kind: "organization",
  columns: {
    name: text(({ name }) => name),
    slug: text(({ slug }) => slug, { index: true }),
    image_url: text(({ image_url }) => image_url),
    created_by: text(({ created_by }) => created_by),
    public_metadata: json(({ public_metadata }) => public_metadata),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: sorted("/organizations"),
  find: (get, { id }) => get(`/organizations/${id as string}`) as Promise<ClerkObject>,
};

/** For tables whose objects Clerk lists by organization. */
export const ofOrganizations: Parent = {
  column: "organization_id",
  ...sorted("/organizations"),
  async existing(get, ids) {
    const { objects } = await pageOf(get, "/organizations", { organization_id: ids, limit: ids.length });
    return objects.map(({ id }) => id as string);
  },
};
