// The rows that the stand-in for Clerk's Backend API serves, and functions that add more from the samples.

import type {
  OrganizationInvitationJSON,
  OrganizationJSON,
  OrganizationMembershipJSON,
  UserJSON,
} from "@clerk/backend";

import { sample } from "../src/clerk/samples.ts";
import * as objects from "./clerk-api-objects.ts";
import type { Table } from "./clerk-api-table.ts";
import { seeded } from "./random.ts";

export interface State extends objects.Tables {
  users: Table<UserJSON>;
  organizations: Table<OrganizationJSON>;
  memberships: Table<OrganizationMembershipJSON>;
  invitations: Table<OrganizationInvitationJSON>;
}

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Functions that add rows. Each row is created a millisecond after the one before, so that orders are unambiguous. */
export function makers(state: State) {
  const { users, organizations, memberships, invitations } = state;
  const random = seeded(1);
  let now = Date.UTC(2026, 0, 1);
  let userCount = 0;
  const template = userWithEmail(random);
  const stamps = (created_at = ++now, updated_at = created_at) => ({ created_at, updated_at });
  const randomId = (prefix: string) => {
    let id = `${prefix}_`;
    for (let i = 0; i < 27; i++) id += BASE62[Math.floor(random() * 62)];
    return id;
  };
  const put = <Row extends { id: string }>(table: Table<Row>, row: Row): Row => {
    table.set(row.id, row);
    return row;
  };
  const find = <Row extends { id: string }>(table: Table<Row>, id: string): Row => {
    const row = table.get(id);
    if (!row) throw new Error(`no row ${id}: add it first`);
    return row;
  };

  /** Copies one user with a new id and email address: a sample each would take too long for 100,000 users. */
  function addUser(overrides: Partial<UserJSON> = {}): UserJSON {
    const times = stamps(overrides.created_at, overrides.updated_at);
    userCount += 1;
    const address = `user${userCount}@example.com`;
    const email = { ...template.email_addresses[0]!, id: randomId("idn"), email_address: address };
    return put(users, {
      ...template,
      id: randomId("user"),
      last_name: `${template.last_name} ${userCount}`,
      primary_email_address_id: email.id,
      email_addresses: [email],
      public_metadata: {},
      private_metadata: {},
      unsafe_metadata: {},
      ...times,
      ...overrides,
    });
  }

  return {
    ...objects.makers(state, { random, stamps }),
    addUser,
    fill: (count: number) => Array.from({ length: count }, () => addUser()),
    addOrganization(overrides: Partial<OrganizationJSON> = {}): OrganizationJSON {
      const { data } = sample("organization.created", { random });
      // Clerk's API leaves the counts out unless a request asks for them.
      const { members_count: _, pending_invitations_count: __, ...organization } = data;
      const times = stamps(overrides.created_at, overrides.updated_at);
      return put(organizations, { ...organization, ...times, ...overrides });
    },
    addMembership(organizationId: string, userId: string, overrides: Partial<OrganizationMembershipJSON> = {}) {
      const organization = find(organizations, organizationId);
      const user = find(users, userId);
      const { data } = sample("organizationMembership.created", { random });
      const times = stamps(overrides.created_at, overrides.updated_at);
      const { first_name, last_name, image_url, has_image } = user;
      const identifier = user.email_addresses[0]?.email_address ?? user.username ?? user.id;
      const public_user_data = { user_id: userId, identifier, first_name, last_name, image_url, has_image };
      return put<OrganizationMembershipJSON>(memberships, {
        ...data,
        ...times,
        organization,
        public_user_data,
        ...overrides,
      });
    },
    addInvitation(organizationId: string, overrides: Partial<OrganizationInvitationJSON> = {}) {
      const { id, name, slug, image_url, has_image } = find(organizations, organizationId);
      const { data } = sample("organizationInvitation.created", { random });
      const times = stamps(overrides.created_at, overrides.updated_at);
      return put<OrganizationInvitationJSON>(invitations, {
        ...data,
        ...times,
        organization_id: id,
        public_organization_data: { object: "organization", id, name, slug, image_url: image_url ?? "", has_image },
        ...overrides,
      });
    },
  };
}

/** A user who signs in by email address and in no other way. */
function userWithEmail(random: () => number): UserJSON {
  while (true) {
    const { data: user } = sample("user.created", { random });
    const others = [...user.external_accounts, ...user.phone_numbers, ...user.web3_wallets];
    if (user.email_addresses.length === 1 && others.length === 0) return user;
  }
}
