// `clerk_organization_invitations`. Clerk lists them only by organization.

import { type ClerkObject, json, type Table, text, time } from "./table.ts";

export const invitations: Table = {
  name: "organization_invitations",
  kind: "organizationInvitation",
  columns: {
    organization_id: text(({ organization_id }) => organization_id, { index: true }),
    email: text(({ email_address }) => email_address, { index: true }),
    role: text(({ role }) => role),
    status: text(({ status }) => status),
    user_id: text(({ user_id }) => user_id),
    public_metadata: json(({ public_metadata }) => public_metadata),
    expires_at: time(({ expires_at }) => expires_at),
    created_at: time(({ created_at }) => created_at),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: {
    async listOf(clerk, organizationId, span) {
      const { data, totalCount } = await clerk.organizations.getOrganizationInvitationList({
        ...span,
        organizationId,
        status: ["pending", "accepted", "revoked", "expired"],
      });
      return { objects: data.map(({ raw }) => raw as unknown as ClerkObject), total: totalCount };
    },
  },
  async find(clerk, { id, organization_id }) {
    const found = await clerk.organizations.getOrganizationInvitation({
      organizationId: organization_id as string,
      invitationId: id as string,
    });
    return found.raw as unknown as ClerkObject;
  },
};
