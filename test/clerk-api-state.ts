// The rows that the stand-in for Clerk's Backend API serves, and functions that add more from the samples.

import type {
  OrganizationInvitationJSON,
  OrganizationJSON,
  OrganizationMembershipJSON,
  UserJSON,
} from "@clerk/backend";

import { sample } from "../src/clerk/samples.ts";
import { seeded } from "./random.ts";

export interface State {
  users: Table<UserJSON>;
  organizations: Table<OrganizationJSON>;
  memberships: Table<OrganizationMembershipJSON>;
  invitations: Table<OrganizationInvitationJSON>;
}

/** Rows by id. A sorted order is cached until a row changes. */
export class Table<Row extends { id: string }> extends Map<string, Row> {
  readonly #orders = new Map<string, readonly Row[]>();

  /** `idParameter` is the query parameter that filters by id. */
  constructor(readonly idParameter: string) {
    super();
  }

  override set(id: string, row: Row): this {
    this.#orders.clear();
    return super.set(id, row);
  }

  override delete(id: string): boolean {
    this.#orders.clear();
    return super.delete(id);
  }

  override clear(): void {
    this.#orders.clear();
    super.clear();
  }

  /** All rows, or those with the given ids, ascending; rows with equal keys stay in insertion order. */
  sortedBy(key: keyof Row & string, ids: string[] = []): readonly Row[] {
    const compare = (a: Row, b: Row) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0);
    if (ids.length > 0) return [...new Set(ids)].flatMap((id) => this.get(id) ?? []).toSorted(compare);
    const cached = this.#orders.get(key);
    // A test may have changed a row in place.
    if (cached?.every((row, i) => i === 0 || cached[i - 1]![key] <= row[key])) return cached;
    const sorted = [...this.values()].toSorted(compare);
    this.#orders.set(key, sorted);
    return sorted;
  }
}

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Functions that add rows. Each row is created a millisecond after the one before, so that orders are unambiguous. */
export function makers({ users, organizations, memberships, invitations }: State) {
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
