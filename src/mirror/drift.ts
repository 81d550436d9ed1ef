// Compares tables with Clerk, page by page in bounded memory. Clerk lists objects by `created_at`, so a row whose time
// is within a page and whose id is not in it is missing in Clerk. Skips objects whose webhook may still be in flight.

import type { SQL } from "bun";

import { type Backfill, pagesOf } from "./backfill.ts";
import { collectDeletions, type Deletions } from "./deletions.ts";
import { versionedAt } from "./order.ts";
import { createdAtOf } from "./pages.ts";
import { decodeRow, dialectOf, encode, hole, holes, quoted, template } from "./sql.ts";
import { type ClerkObject, columnsIn, type Parent, readRow, type Row, type Value } from "./table.ts";
import { isWithoutOrganizations, statusOf } from "./throttle.ts";
import { applyRead, IN_FLIGHT_MS, type MirrorTable, repair } from "./write.ts";

export interface Difference {
  /** The table's name. */
  name: string;
  id: string;
  /** Only in Clerk; only in the table; deleted in the table but not in Clerk; or columns differ. */
  kind: "missing" | "extra" | "deleted" | "different";
  fields: { name: string; here: Value; there: Value }[];
  fixed: boolean;
}

export interface Drift extends Omit<Backfill, "restart"> {
  fix?: boolean;
  /** With `fix`: also when it deletes more than a small share of a table. */
  yes?: boolean;
  onDifference: (difference: Difference) => void;
}

export interface DriftCount {
  name: string;
  /** Objects in Clerk. */
  compared: number;
  differences: number;
}

const ROWS_AT_A_TIME = 500;
const PARENTS_AT_A_TIME = 100;

/** Compares each table, and repairs with `fix`. */
export async function drift(options: Drift): Promise<DriftCount[]> {
  const counts: DriftCount[] = [];
  for (const to of options.into) {
    const count: DriftCount = { name: to.name, compared: 0, differences: 0 };
    const report = (difference: Omit<Difference, "name">) => {
      count.differences += 1;
      options.onDifference({ name: to.name, ...difference });
    };
    const deletions = await collectDeletions(options.effects, to, options.yes);
    await driftOf({ ...options, to, report, deletions, onCompared: (objects) => (count.compared += objects) });
    counts.push(count);
  }
  return counts;
}

interface TableDrift extends Drift {
  to: MirrorTable;
  report: (difference: Omit<Difference, "name">) => void;
  onCompared: (objects: number) => void;
  deletions: Deletions;
}

async function driftOf(options: TableDrift): Promise<void> {
  const { to, onProgress, onCompared, signal, deletions } = options;
  /** Clerk's objects created at `from` or later. */
  let open = new Map<string, ClerkObject>();
  let from = 0;
  /** The ids of the last page: an object may be listed twice. */
  let before = new Set<string>();
  for await (const page of pagesOf(options, to.table)) {
    const objects = page.objects.filter(({ id }) => !before.has(id as string));
    before = new Set(page.objects.map(({ id }) => id as string));
    onCompared(objects.length);
    await compare(options, objects, page.readAt);
    if (page.parents)
      for await (const rows of rowsOfParents(options, page.parents)) await reportExtra(options, rows, before);
    else {
      for (const object of objects) open.set(object["id"] as string, object);
      const upTo = Math.max(from, ...objects.map(createdAtOf));
      for await (const rows of rowsBetween(options, from, upTo)) await reportExtra(options, rows, open);
      open = new Map([...open].filter(([, object]) => createdAtOf(object) >= upTo));
      from = upTo;
    }
    onProgress?.({ name: to.name, done: page.done, total: page.total });
    signal?.throwIfAborted();
  }
  const { source } = to.table;
  if ("parents" in source) for (const parent of source.parents) await reportDeletedParents(options, parent);
  else for await (const rows of rowsBetween(options, from, undefined)) await reportExtra(options, rows, open);
  await deletions.write();
}

/** Compares Clerk's objects with their rows. */
async function compare(options: TableDrift, objects: readonly ClerkObject[], readAt: number): Promise<void> {
  const { to, effects, fix = false, report } = options;
  if (objects.length === 0) return;
  const ids = objects.map(({ id }) => id as string);
  const found = await select(effects.sql, to, `id in (${holes(ids)})`, ids);
  const here = new Map(found.map((row) => [row["id"] as string, row]));
  const repairs: ((tx: SQL) => Promise<unknown>)[] = [];
  for (const object of objects) {
    const id = object["id"] as string;
    const row = here.get(id);
    const versions = [row?.["mirror_version"], row?.["mirror_deletion"]].map(versionedAt);
    if ([object["updated_at"], ...versions].some((time) => isRecent(time, readAt))) continue;
    const difference = differenceOf(to, object, row);
    if (!difference) continue;
    report({ id, ...difference, fixed: fix });
    repairs.push(async (tx) => {
      if (difference.kind === "different") await repair(tx, to, object, readAt, String(row?.["mirror_version"]));
      else await applyRead(tx, to, [object], readAt);
    });
  }
  if (fix && repairs.length > 0)
    await effects.write(async (tx) => {
      for (const write of repairs) await write(tx);
    });
}

function differenceOf(to: MirrorTable, object: ClerkObject, found: Record<string, unknown> | undefined) {
  if (!found) return { kind: "missing" as const, fields: [] };
  if (found["deleted_at"] !== null) return { kind: "deleted" as const, fields: [] };
  const [here, there] = [decodeRow(to.table, found), readRow(to.table, object, to.kept)];
  const fields = columnsIn(to.table, object)
    .filter((name) => !to.table.columns[name]?.silent)
    .filter((name) => !Bun.deepEquals(here[name] ?? null, there[name] ?? null))
    .map((name) => ({ name, here: here[name] ?? null, there: there[name] ?? null }));
  return fields.length > 0 ? { kind: "different" as const, fields } : undefined;
}

/** Requests each row that Clerk did not list, since the list may have shifted. */
async function reportExtra(options: TableDrift, rows: readonly Row[], listed: { has(id: string): boolean }) {
  const { to, get, ask, fix = false, report, deletions } = options;
  const { find } = to.table;
  if (!find) return;
  const exists = async (row: Row) => {
    try {
      return (await ask(() => find(get, row))) !== undefined;
    } catch (error) {
      if (statusOf(error) === 404 || isWithoutOrganizations(error)) return false;
      throw error;
    }
  };
  for (const row of rows) {
    const id = row["id"] as string;
    if (listed.has(id) || (await exists(row))) continue;
    report({ id, kind: "extra", fields: [], fixed: fix });
    if (fix) await deletions.add(id);
  }
}

/** Clerk lists nothing of a deleted parent, so its rows have to be found from here. */
async function reportDeletedParents(options: TableDrift, { column, existing }: Parent) {
  const { to, effects, get, ask } = options;
  if (!existing) return;
  let last = "";
  while (true) {
    const found = await effects.sql(
      template(`select distinct ${quoted(column)} as id from ${quoted(to.name)}
        where deleted_at is null and ${quoted(column)} > ? order by id limit ${PARENTS_AT_A_TIME}`),
      last,
    );
    const ids = (found as { id: string }[]).map(({ id }) => id);
    if (ids.length === 0) return;
    const there = await ask(() => existing(get, ids)).catch((error: unknown): string[] => {
      if (isWithoutOrganizations(error)) return [];
      throw error;
    });
    const lost = ids.filter((id) => !there.includes(id));
    for await (const rows of rowsOfParents(options, { column, ids: lost })) await reportExtra(options, rows, new Set());
    last = ids.at(-1) ?? "";
  }
}

/** Undeleted rows created from `from` to before `upTo`; without `upTo` also rows of unknown time. */
async function* rowsBetween({ to, effects }: TableDrift, from: number, upTo: number | undefined) {
  const time = (milliseconds: number) => encode("time", new Date(milliseconds), dialectOf(effects.sql));
  const at = hole("time", dialectOf(effects.sql));
  const within =
    upTo === undefined ? `(created_at >= ${at} or created_at is null)` : `created_at >= ${at} and created_at < ${at}`;
  const times = upTo === undefined ? [time(from)] : [time(from), time(upTo)];
  yield* rowsWhere(effects.sql, to, within, times);
}

async function* rowsOfParents(
  { to, effects }: TableDrift,
  { column, ids }: { column: string; ids: readonly string[] },
) {
  if (ids.length > 0) yield* rowsWhere(effects.sql, to, `${quoted(column)} in (${holes(ids)})`, ids);
}

async function* rowsWhere(sql: SQL, to: MirrorTable, condition: string, values: readonly unknown[]) {
  let last = "";
  while (true) {
    const rows = await select(
      sql,
      to,
      `deleted_at is null and ${condition} and id > ? order by id limit ${ROWS_AT_A_TIME}`,
      [...values, last],
    );
    if (rows.length > 0) yield rows as Row[];
    if (rows.length < ROWS_AT_A_TIME) return;
    last = rows.at(-1)?.["id"] as string;
  }
}

async function select(sql: SQL, to: MirrorTable, condition: string, values: readonly unknown[]) {
  const found = await sql(template(`select * from ${quoted(to.name)} where ${condition}`), ...values);
  return [...found] as Record<string, unknown>[];
}

function isRecent(time: unknown, readAt: number): boolean {
  return typeof time === "number" && time > readAt - IN_FLIGHT_MS;
}
