// Creates and migrates the mirror's tables, each step once, by number. Never touches columns that the user has added.

import type { SQL } from "bun";

import { UserError } from "../errors.ts";
import { DRIFT_TABLE } from "./drift-schedule.ts";
import { INSTANCES_TABLE } from "./instance.ts";
import { type Dialect, dialectOf, type NamedTable, quoted, tableExists, template, types } from "./sql.ts";
import { type Column, columnsOf } from "./table.ts";

/** Call it in a transaction that excludes concurrent migrations. Throws when a newer Bellhop created the table. */
export async function migrate(tx: SQL, named: NamedTable): Promise<void> {
  const { table, name } = named;
  const columns = Object.entries(columnsOf(table));
  const newest = Math.max(...columns.map(([, { since = 1 }]) => since));
  await tx.unsafe("create table if not exists bellhop_mirror (name text primary key, version integer not null)");
  await tx.unsafe(INSTANCES_TABLE);
  await tx.unsafe(DRIFT_TABLE);
  const [row] = await tx`select version from bellhop_mirror where name = ${name}`;
  const version = row === undefined ? 0 : Number((row as { version: unknown }).version);
  if (version > newest)
    throw new UserError(
      `The table ${name} is at version ${version}, this Bellhop knows ${newest}: a newer one created it. Update Bellhop.`,
    );
  const dialect = dialectOf(tx);
  const of = (step: number) => columns.filter(([, { since = 1 }]) => since === step);
  if (version === 0) {
    await refuseForeign(tx, name);
    await tx.unsafe(createTable(name, of(1), dialect));
  }
  for (let step = Math.max(version, 1) + 1; step <= newest; step += 1)
    for (const [column, { kind }] of of(step)) await addColumn(tx, name, column, types[dialect][kind], dialect);
  await createIndexes(tx, name, columns);
  if (version === newest) return;
  await tx`insert into bellhop_mirror (name, version) values (${name}, ${newest})
    on conflict (name) do update set version = excluded.version`;
}

function createTable(name: string, columns: readonly (readonly [string, Column])[], dialect: Dialect): string {
  const { time, version } = types[dialect];
  const lines = columns.map(([column, { kind }]) =>
    column === "id" ? "id text primary key" : `${quoted(column)} ${types[dialect][kind]}`,
  );
  const internal = [`deleted_at ${time}`, `mirror_version ${version}`, `mirror_deletion ${version}`];
  return `create table ${quoted(name)} (${[...lines, ...internal].join(", ")})`;
}

/** Refuses to use a table of that name that the mirror has not created. */
async function refuseForeign(tx: SQL, name: string) {
  if (await tableExists(tx, name))
    throw new UserError(
      `The table ${name} exists already, and the mirror did not create it. Rename it, or choose another prefix:\n\n` +
        `    export default mirror({ prefix: "mirror_" });`,
    );
}

async function addColumn(tx: SQL, name: string, column: string, type: string, dialect: Dialect) {
  // SQLite has no "if not exists" here, and the user may have added a column of that name.
  const there = dialect === "sqlite" ? await tx`select 1 from pragma_table_info(${name}) where name = ${column}` : [];
  if (there.length > 0) return;
  const unless = dialect === "postgres" ? "if not exists " : "";
  await tx(template(`alter table ${quoted(name)} add column ${unless}${quoted(column)} ${type}`));
}

async function createIndexes(tx: SQL, name: string, columns: readonly (readonly [string, Column])[]) {
  for (const [column] of columns.filter(([, { index }]) => index))
    await tx(
      template(`create index if not exists ${quoted(`${name}_${column}`)} on ${quoted(name)} (${quoted(column)})`),
    );
}
