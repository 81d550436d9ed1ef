// `clerk_organization_invitations`. Clerk lists them only by organization.

import { pageOf } from "./lists.ts";
import { ofOrganizations } from "./organizations.ts";
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
    parents: [ofOrganizations],
    listOf: (get, { id }, span) =>
      pageOf(get, `/organizations/${id as string}/invitations`, {
        ...span,
        status: ["pending", "accepted", "revoked", "expired"],
      }),
  },
  find: (get, { id, organization_id }) =>
    get(`/organizations/${organization_id as string}/invitations/${id as string}`) as Promise<ClerkObject>,
};
