// `clerk_organization_memberships`: the users of each organization.

import { pageOf, sorted } from "./lists.ts";
import { type ClerkObject, json, type Table, text, time } from "./table.ts";

export const memberships: Table = {
  name: "organization_memberships",
  kind: "organizationMembership",
  columns: {
    organization_id: text(({ organization }) => (organization as ClerkObject | undefined)?.["id"], { index: true }),
    user_id: text(({ public_user_data }) => (public_user_data as ClerkObject | undefined)?.["user_id"], {
      index: true,
    }),
    role: text(({ role }) => role),
    permissions: json(({ permissions }) => permissions),
    public_metadata: json(({ public_metadata }) => public_metadata),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: sorted("/organization_memberships"),
  async find(get, { id, organization_id, user_id }) {
    const path = `/organizations/${organization_id as string}/memberships`;
    const { objects } = await pageOf(get, path, { user_id: user_id as string });
    return objects.find((membership) => membership["id"] === id);
  },
};
