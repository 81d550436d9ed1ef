// The types of `bellhop/ensure-user`, which `bun run build:ensure-user` copies for Node: no imports here.

/** A row of `clerk_users`. */
export interface MirroredUser {
  id: string;
  /** The primary address. */
  email: string | null;
  /** The primary number. */
  phone: string | null;
  username: string | null;
  first_name: string | null;
  last_name: string | null;
  image_url: string | null;
  external_id: string | null;
  public_metadata: Record<string, unknown> | null;
  banned: boolean | null;
  locked: boolean | null;
  last_sign_in_at: Date | null;
  created_at: Date | null;
  updated_at: Date | null;
  /** Set when the user was deleted in Clerk; the other columns keep their values. */
  deleted_at: Date | null;
  /** Clerk's object. */
  raw: Record<string, unknown>;
}

/** `public_metadata` and the like. */
export type Metadata = "public" | "private" | "unsafe";

/** As in `mirror(…)`. */
export interface EnsureUserOptions {
  /** The prefix of the tables' names. Default: `"clerk_"`. */
  prefix?: string;
  /** The metadata to store. Default: `["public"]`. */
  metadata?: readonly Metadata[];
}

/** Clerk's client: `createClerkClient(…)` of `@clerk/backend`, or that of a framework's SDK. */
export interface UserReader {
  users: { getUser(id: string): Promise<{ raw: unknown }> };
}

/**
 * The row of a user whose event may not have arrived yet: a missing row is fetched from Clerk and written by the
 * mirror's own rule, so that neither an older nor a newer event is lost. Rejects when Clerk does not know the user. A
 * deleted user's row has a `deleted_at`.
 *
 * `database` is a handler's `db`, `Bun.SQL`, a pool or client of `pg`, `postgres`, a Drizzle database or transaction,
 * or a SQLite `Database` (`bun:sqlite`, `better-sqlite3`, `node:sqlite`).
 *
 *     const user = await ensureUser(db, clerk, data.public_user_data.user_id);
 */
export type EnsureUser = (
  database: object,
  clerk: UserReader,
  id: string,
  options?: EnsureUserOptions,
) => Promise<MirroredUser>;
