// The exports of `bellhop/mirror`: Clerk's objects in the app's database, kept up to date by their events.

import { subjectOf } from "../clerk/events.ts";
import { type HandlerContext, type HandlerFunction, type MakeTables, makeTables } from "../index.ts";
import { didYouMean } from "../suggest.ts";
import type { EnsureUserOptions, Metadata } from "./ensure-user-types.ts";
import { createInstanceNote } from "./instance.ts";
import { migrate } from "./migrate.ts";
import type { ClerkObject, TableName } from "./table.ts";
import { DEFAULT_TABLES, tables } from "./tables.ts";
import { applyEvent, type MirrorTable, mirrorTable } from "./write.ts";

export { ensureUser } from "./ensure-user.ts";
export type { MirroredUser } from "./ensure-user-types.ts";
export type { TableName } from "./table.ts";

export interface MirrorOptions extends EnsureUserOptions {
  /** The tables to mirror. Default: users, organizations, and their memberships and invitations. */
  tables?: readonly TableName[];
}

const OPTIONS: readonly string[] = ["tables", "prefix", "metadata"] satisfies (keyof MirrorOptions)[];
const METADATA: readonly string[] = ["public", "private", "unsafe"] satisfies Metadata[];

/** The property of a mirror that holds its tables, for `bun backfill` and `bun drift`. */
const mirrored: unique symbol = Symbol("bellhop.mirror");

/**
 * A handler that keeps `clerk_users`, `clerk_organizations`, `clerk_organization_memberships` and
 * `clerk_organization_invitations`, or the `tables` that you choose, equal to Clerk's, whatever order events arrive in.
 * Throws on invalid options.
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

function readOptions({ prefix, metadata = ["public"], ...rest }: MirrorOptions): MirrorTable[] {
  const names = tables.map(({ name }) => name);
  refuseUnknown("option", Object.keys(rest), OPTIONS);
  refuseUnknown("metadata", metadata, METADATA);
  const wanted = rest.tables ?? DEFAULT_TABLES;
  refuseUnknown("table", wanted, names);
  return tables
    .filter(({ name }) => wanted.includes(name))
    .map((table) => mirrorTable(table, { ...(prefix !== undefined && { prefix }), metadata }));
}

function refuseUnknown(what: string, given: readonly string[], known: readonly string[]) {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TypeError(
    `mirror() knows no ${what} ${unknown}${didYouMean(unknown, known, `; there are ${known.join(", ")}`)}`,
  );
}
