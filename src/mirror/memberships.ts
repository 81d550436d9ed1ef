// `clerk_organization_memberships`: the users of each organization.

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
  source: {
    requests: 1,
    async list(clerk, span) {
      const { data, totalCount } = await clerk.organizations.getInstanceOrganizationMembershipList({
        ...span,
        orderBy: "+created_at",
      });
      return { objects: data.map(({ raw }) => raw as unknown as ClerkObject), total: totalCount };
    },
  },
  async find(clerk, { id, organization_id, user_id }) {
    const { data } = await clerk.organizations.getOrganizationMembershipList({
      organizationId: organization_id as string,
      userId: [user_id as string],
    });
    return data.find((membership) => membership.id === id)?.raw as unknown as ClerkObject | undefined;
  },
};
