// All tables of the mirror. To add one, write a file like `users.ts` and list it here.

import { domains } from "./domains.ts";
import { invitations } from "./invitations.ts";
import { memberships } from "./memberships.ts";
import { organizations } from "./organizations.ts";
import { paymentAttempts } from "./payment-attempts.ts";
import { permissions } from "./permissions.ts";
import { roles } from "./roles.ts";
import { sessions } from "./sessions.ts";
import { subscriptionItems } from "./subscription-items.ts";
import { subscriptions } from "./subscriptions.ts";
import type { Table, TableName } from "./table.ts";
import { users } from "./users.ts";
import { waitlistEntries } from "./waitlist-entries.ts";

/** In backfill order: users and organizations before the tables that refer to them. */
export const tables: readonly Table[] = [
  users,
  organizations,
  memberships,
  invitations,
  domains,
  roles,
  permissions,
  subscriptions,
  subscriptionItems,
  paymentAttempts,
  sessions,
  waitlistEntries,
];

/** The tables of `mirror()` without options. */
export const DEFAULT_TABLES: readonly TableName[] = [
  "users",
  "organizations",
  "organization_memberships",
  "organization_invitations",
];
