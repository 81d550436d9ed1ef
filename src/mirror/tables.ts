// Every table of the mirror. One more is a file like `users.ts` and a row in here.

import { invitations } from "./invitations.ts";
import { memberships } from "./memberships.ts";
import { organizations } from "./organizations.ts";
import type { Table } from "./table.ts";
import { users } from "./users.ts";

/** In the order in which they are backfilled: users and organizations before what points at them. */
export const tables: readonly Table[] = [users, organizations, memberships, invitations];
