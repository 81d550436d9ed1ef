// `clerk_organization_domains`: the domains that organizations enrol their users by.

import { pageOf, sorted } from "./lists.ts";
import { type ClerkObject, type Table, text, time } from "./table.ts";

export const domains: Table = {
  name: "organization_domains",
  kind: "organizationDomain",
  columns: {
    organization_id: text(({ organization_id }) => organization_id, { index: true }),
    name: text(({ name }) => name, { index: true }),
    enrollment_mode: text(({ enrollment_mode }) => enrollment_mode),
    affiliation_email_address: text(({ affiliation_email_address }) => affiliation_email_address),
    verification_status: text((domain) => verificationOf(domain, "status")),
    verification_strategy: text((domain) => verificationOf(domain, "strategy")),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  source: sorted("/organization_domains"),
  async find(get, { id, organization_id, name }) {
    const query = { organization_id: organization_id as string, domains: name as string };
    const { objects } = await pageOf(get, "/organization_domains", query);
    return objects.find((domain) => domain["id"] === id);
  },
};

function verificationOf({ verification }: ClerkObject, name: string): unknown {
  return verification === null ? null : (verification as ClerkObject | undefined)?.[name];
}
