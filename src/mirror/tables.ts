// All tables of the mirror. To add one, write a file like `users.ts` and list it here.

import { invitations } from "./invitations.ts";
import { memberships } from "./memberships.ts";
import { organizations } from "./organizations.ts";
import type { Table } from "./table.ts";
import { users } from "./users.ts";

/** In backfill order: users and organizations before the tables that refer to them. */
export const tables: readonly Table[] = [users, organizations, memberships, invitations];
