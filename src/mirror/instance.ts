// Tracks which Clerk instances the mirror's rows come from. With the key of another instance, every row would look
// deleted.

import type { SQL } from "bun";

import { SAMPLE_INSTANCE } from "../clerk/dashboard.ts";
import type { Get } from "../clerk/requests.ts";
import type { Effects } from "../db/effects.ts";
import { UserError } from "../errors.ts";
import { type Ask, statusOf } from "./throttle.ts";

export const INSTANCES_TABLE = "create table if not exists bellhop_mirror_instances (id text primary key)";

/** Records the instances of events. Returns a function that runs a statement only until an id is stored. */
export function createInstanceNote(): (db: SQL, id: unknown) => Promise<void> {
  const stored = new Set<string>();
  return async (db, id) => {
    if (typeof id !== "string" || id === "" || id === SAMPLE_INSTANCE || stored.has(id)) return;
    // Trust only what was committed: this transaction may still be rolled back.
    const [row] = await db`select 1 from bellhop_mirror_instances where id = ${id}`;
    if (row) stored.add(id);
    else await saveInstance(db, id);
  };
}

interface InstanceCheck {
  get: Get;
  ask: Ask;
  effects: Effects;
}

/**
 * Throws a `UserError` when CLERK_SECRET_KEY belongs to an instance that the mirror has no rows of. An empty mirror
 * accepts any. Resolves with the instance's id, or undefined when the API does not return it.
 */
export async function refuseOtherInstance({ get, ask, effects }: InstanceCheck): Promise<string | undefined> {
  const found = await ask(() => get("/instance")).catch((error: unknown) => {
    if (statusOf(error) === 404) return undefined;
    throw error;
  });
  const instance = found as { id: string; environment_type: string } | undefined;
  if (!instance) return undefined;
  const rows = (await effects.sql`select id from bellhop_mirror_instances order by id`) as { id: string }[];
  const known = rows.map(({ id }) => id);
  if (known.length === 0 || known.includes(instance.id)) return instance.id;
  throw new UserError(
    `CLERK_SECRET_KEY belongs to the instance ${instance.id} (${instance.environment_type}), but the mirror's rows come ` +
      `from ${known.join(", ")}. Nothing was read or changed. Copy the key of that instance: Clerk Dashboard, API keys.\n` +
      "To mirror the new instance: receive one of its webhooks first, or empty bellhop_mirror_instances.",
  );
}

export async function saveInstance(db: SQL, id: string): Promise<void> {
  await db`insert into bellhop_mirror_instances (id) values (${id}) on conflict (id) do nothing`;
}
