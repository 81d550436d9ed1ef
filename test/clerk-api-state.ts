// What the stand-in for Clerk's Backend API holds, and what makes more of it.

import type {
  OrganizationInvitationJSON,
  OrganizationJSON,
  OrganizationMembershipJSON,
  UserJSON,
} from "@clerk/backend";

import * as samples from "../src/clerk/samples/organizations.ts";
import { createSource, type Source } from "../src/clerk/samples/source.ts";
import { user as sampleUser } from "../src/clerk/samples/users.ts";
import { seeded } from "./random.ts";

export interface State {
  users: Table<UserJSON>;
  organizations: Table<OrganizationJSON>;
  memberships: Table<OrganizationMembershipJSON>;
  invitations: Table<OrganizationInvitationJSON>;
}

/** Rows by id, and in an order that is kept until they change. */
export class Table<Row extends { id: string }> extends Map<string, Row> {
  readonly #orders = new Map<string, readonly Row[]>();

  /** `idParameter` is what a query calls the id of a row. */
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

  /** All, or those with these ids, ascending; equal ones in the order in which they were put in. */
  sortedBy(key: keyof Row & string, ids: string[] = []): readonly Row[] {
    const compare = (a: Row, b: Row) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0);
    if (ids.length > 0) return [...new Set(ids)].flatMap((id) => this.get(id) ?? []).toSorted(compare);
    const known = this.#orders.get(key);
    // A test may have changed a row in place.
    if (known?.every((row, i) => i === 0 || known[i - 1]![key] <= row[key])) return known;
    const sorted = [...this.values()].toSorted(compare);
    this.#orders.set(key, sorted);
    return sorted;
  }
}

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function makers({ users, organizations, memberships, invitations }: State) {
  const random = seeded(1);
  let now = Date.UTC(2026, 0, 1);
  let made = 0;
  const source = createSource(now, random);
  const template = plainUser(source);
  const stamps = (created_at = ++now, updated_at = created_at) => ({ created_at, updated_at });
  const id = (prefix: string) => {
    let text = `${prefix}_`;
    for (let i = 0; i < 27; i++) text += BASE62[Math.floor(random() * 62)];
    return text;
  };
  const put = <Row extends { id: string }>(table: Table<Row>, row: Row): Row => {
    table.set(row.id, row);
    return row;
  };
  const there = <Row extends { id: string }>(table: Table<Row>, id: string): Row => {
    const row = table.get(id);
    if (!row) throw new Error(`${id} is not there: add it first`);
    return row;
  };

  /** Each has one address of its own; some of the samples have none, and making one takes too long for 100,000. */
  function addUser(overrides: Partial<UserJSON> = {}): UserJSON {
    const times = stamps(overrides.created_at, overrides.updated_at);
    const email = { ...template.email_addresses[0]!, id: id("idn"), email_address: `user${++made}@example.com` };
    return put(users, {
      ...template,
      id: id("user"),
      last_name: `${template.last_name} ${made}`,
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
      // Counts are told only to those who ask.
      const {
        members_count: _,
        pending_invitations_count: __,
        ...made
      } = samples.organization(source, stamps(overrides.created_at, overrides.updated_at));
      return put(organizations, { ...made, ...overrides });
    },
    addMembership(organizationId: string, userId: string, overrides: Partial<OrganizationMembershipJSON> = {}) {
      const organization = there(organizations, organizationId);
      const user = there(users, userId);
      const made = samples.membership(source, stamps(overrides.created_at, overrides.updated_at));
      const { first_name, last_name, image_url, has_image } = user;
      const identifier = user.email_addresses[0]?.email_address ?? user.username ?? user.id;
      const public_user_data = { user_id: userId, identifier, first_name, last_name, image_url, has_image };
      return put<OrganizationMembershipJSON>(memberships, { ...made, organization, public_user_data, ...overrides });
    },
    addInvitation(organizationId: string, overrides: Partial<OrganizationInvitationJSON> = {}) {
      const { id, name, slug, image_url, has_image } = there(organizations, organizationId);
      const times = stamps(overrides.created_at, overrides.updated_at);
      return put<OrganizationInvitationJSON>(invitations, {
        ...samples.invitation(source, times, "pending"),
        organization_id: id,
        public_organization_data: { object: "organization", id, name, slug, image_url: image_url ?? "", has_image },
        ...overrides,
      });
    },
  };
}

/** One who signs in by email address, and in no other way. */
function plainUser(source: Source): UserJSON {
  while (true) {
    const user = sampleUser(source, source.createdNow());
    const others = [...user.external_accounts, ...user.phone_numbers, ...user.web3_wallets];
    if (user.email_addresses.length === 1 && others.length === 0) return user;
  }
}
