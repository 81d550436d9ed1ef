// `bellhop/ensure-user`: the row of a user before its event has come, in a handler or in the app itself.
// Never uses Bun's API: `bun run build:ensure-user` bundles this file for Node.

import { toQueryable } from "./clients.ts";
import type { EnsureUser, MirroredUser } from "./ensure-user-types.ts";
import { decodeRow, quoted, template } from "./sql.ts";
import type { ClerkObject, Row } from "./table.ts";
import { users } from "./users.ts";
import { applyRead, mirrorTable } from "./write.ts";

export type { EnsureUser, EnsureUserOptions, Metadata, MirroredUser, UserReader } from "./ensure-user-types.ts";

export const ensureUser: EnsureUser = async (database, clerk, id, options = {}) => {
  const to = mirrorTable(users, options);
  const db = toQueryable(database);
  async function select(): Promise<MirroredUser | undefined> {
    const [found] = await db(template(`select * from ${quoted(to.name)} where id = ?`), id);
    return found && (decodeRow(users, found as Row) as unknown as MirroredUser);
  }
  const known = await select().catch((error: unknown) => {
    throw isMissingTable(error) ? notMirrored(to.name) : error;
  });
  if (known) return known;
  const readAt = Date.now();
  const { raw } = await clerk.users.getUser(id);
  if (!raw) throw new Error(`Clerk's client returned no raw object of ${id}: update @clerk/backend`);
  await applyRead(db, to, [raw as ClerkObject], readAt);
  const written = await select();
  if (!written) throw new Error(`Clerk has no user ${id}`);
  return written;
};

/** Drizzle wraps the database's error. */
function isMissingTable(error: unknown): boolean {
  const { cause } = (error ?? {}) as { cause?: unknown };
  return /no such table|relation .* does not exist/.test(String(error)) || (cause ? isMissingTable(cause) : false);
}

function notMirrored(name: string): Error {
  return new Error(
    `ensureUser needs the table ${name}, which does not exist. The mirror creates it: bunx bellhop new mirror`,
  );
}
