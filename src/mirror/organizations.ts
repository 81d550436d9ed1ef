// `clerk_organizations`.

import type { ClerkClient } from "@clerk/backend";

import { type ClerkObject, json, type Page, type Span, type Table, text, time } from "./table.ts";

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
  source: { requests: 1, list: listOrganizations },
  async find(clerk, { id }) {
    const organization = await clerk.organizations.getOrganization({ organizationId: id as string });
    return organization.raw as unknown as ClerkObject;
  },
};

export async function listOrganizations(clerk: ClerkClient, span: Span): Promise<Page> {
  const { data, totalCount } = await clerk.organizations.getOrganizationList({ ...span, orderBy: "+created_at" });
  return { objects: data.map(({ raw }) => raw as unknown as ClerkObject), total: totalCount };
}
