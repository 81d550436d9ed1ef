// The exports of `bellhop/mirror`: users and organizations in the app's database, kept up to date by their events.

import type { ClerkClient } from "@clerk/backend";
import type { SQL } from "bun";

import { subjectOf } from "../clerk/events.ts";
import { COMMAND } from "../command.ts";
import { type HandlerContext, type HandlerFunction, type MakeTables, makeTables } from "../index.ts";
import { didYouMean } from "../suggest.ts";
import { createInstanceNote } from "./instance.ts";
import { migrate } from "./migrate.ts";
import { decodeRow, quoted, template } from "./sql.ts";
import type { ClerkObject, Metadata, Row, TableName } from "./table.ts";
import { tables } from "./tables.ts";
import { users } from "./users.ts";
import { applyEvent, applyRead, type MirrorTable } from "./write.ts";

export interface MirrorOptions {
  /** The tables to mirror. Default: all four. */
  tables?: readonly TableName[];
  /** The prefix of their names. Default: `"clerk_"`. */
  prefix?: string;
  /** The metadata to store. Default: `["public"]`. */
  metadata?: readonly Metadata[];
}

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

const PREFIX = "clerk_";
const OPTIONS: readonly string[] = ["tables", "prefix", "metadata"] satisfies (keyof MirrorOptions)[];
const METADATA: readonly string[] = ["public", "private", "unsafe"] satisfies Metadata[];

/** The property of a mirror that holds its tables, for `bun backfill` and `bun drift`. */
const mirrored: unique symbol = Symbol("bellhop.mirror");

/**
 * A handler that keeps `clerk_users`, `clerk_organizations`, `clerk_organization_memberships` and
 * `clerk_organization_invitations` equal to Clerk's, whatever order events arrive in. Throws on invalid options.
 *
 *     // handlers/[...event].ts
 *     export default mirror();
 */
export function mirror(options: MirrorOptions = {}): HandlerFunction {
  const into = readOptions(options);
  const noteInstance = createInstanceNote();
  /** The error because of which the tables can't be used. */
  let problem: unknown;

  async function handle({ event, data, delivery, db, log }: HandlerContext) {
    const [kind, action] = event.type.split(".");
    const to = into.find(({ table }) => table.kind === kind);
    if (!to) return;
    const id = subjectOf({ data });
    if (delivery.sample) return log.info(`${id} is a Dashboard example and is not written`);
    if (id === null) return log.warn(`${event.type} has no data.id and is not written`);
    if (problem) throw problem;
    await noteInstance(db, event.instance_id);
    const change = { object: data as unknown as ClerkObject, deleted: action === "deleted" };
    const applied = await applyEvent(db, to, { ...change, at: event.timestamp, delivery: delivery.id });
    if (applied === "later") log.debug(`${to.name} has a later state of ${id}`);
    if (applied === "partial")
      log.warn(`${event.type} of ${id} has no created_at in milliseconds, unlike Clerk's, and is not written`);
  }

  const make: MakeTables = async (tx) => {
    problem = undefined;
    try {
      for (const table of into) await migrate(tx, table);
    } catch (error) {
      problem = error;
      throw error;
    }
  };
  return Object.assign(handle, { [makeTables]: make, [mirrored]: into });
}

/** The tables of a handler that is a mirror, or undefined. */
export function tablesOf(handler: HandlerFunction): readonly MirrorTable[] | undefined {
  return (handler as { [mirrored]?: readonly MirrorTable[] })[mirrored];
}

/**
 * The row of a user whose event may not have arrived yet: a missing row is fetched from Clerk and written in the run's
 * transaction. Rejects when Clerk does not know the user. A deleted user's row has a `deleted_at`.
 *
 *     const user = await ensureUser(db, clerk, data.public_user_data.user_id);
 */
export async function ensureUser(
  db: SQL,
  clerk: ClerkClient,
  id: string,
  options: Pick<MirrorOptions, "prefix" | "metadata"> = {},
): Promise<MirroredUser> {
  const [to] = readOptions({ ...options, tables: ["users"] }) as [MirrorTable];
  const select = async () => {
    const [found] = await db(template(`select * from ${quoted(to.name)} where id = ?`), id);
    return found && (decodeRow(users, found as Row) as unknown as MirroredUser);
  };
  const known = await select().catch((error: unknown) => {
    throw /no such table|relation .* does not exist/.test(String(error)) ? notMirrored(to.name) : error;
  });
  if (known) return known;
  const readAt = Date.now();
  const object = await users.find(clerk, { id });
  if (object) await applyRead(db, to, [object], readAt);
  const written = await select();
  if (!written) throw new Error(`Clerk has no user ${id}`);
  return written;
}

function notMirrored(name: string): Error {
  return new Error(
    `ensureUser needs the table ${name}, which does not exist. The mirror creates it: ${COMMAND} new mirror`,
  );
}

function readOptions({ prefix = PREFIX, metadata = ["public"], ...rest }: MirrorOptions): MirrorTable[] {
  const names = tables.map(({ name }) => name);
  refuseUnknown("option", Object.keys(rest), OPTIONS);
  refuseUnknown("metadata", metadata, METADATA);
  const wanted = rest.tables ?? names;
  refuseUnknown("table", wanted, names);
  // The prefix becomes part of SQL statements.
  if (!/^[a-z_][a-z0-9_]{0,30}$/.test(prefix))
    throw new TypeError(
      `mirror({ prefix: ${JSON.stringify(prefix)} }): expected lowercase letters, digits and _, like "clerk_"`,
    );
  return tables
    .filter(({ name }) => wanted.includes(name))
    .map((table) => ({ table, name: `${prefix}${table.name}`, kept: metadata }));
}

function refuseUnknown(what: string, given: readonly string[], known: readonly string[]) {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TypeError(
    `mirror() knows no ${what} ${unknown}${didYouMean(unknown, known, `; there are ${known.join(", ")}`)}`,
  );
}
