// Sets the columns of a user's rows in the mirror's tables to null. Ids, versions and the time of the deletion stay, so that
// an older event or its replay does not write the row again. Columns that the user has added are not touched.

import type { SQL } from "bun";

import { decodeRow, holes, quoted, tableExists, template } from "./sql.ts";
import { columnsOf } from "./table.ts";
import type { MirrorTable } from "./write.ts";

const KEPT = ["id", "user_id", "organization_id"];
/** Columns with the address of a person who may not be a user yet. */
const ADDRESSES = ["email", "email_address"];

/** The e-mail addresses and phone numbers in the user's rows. */
export async function addressesIn(sql: SQL, tables: readonly MirrorTable[], user: string): Promise<string[]> {
  const found: string[] = [];
  for (const { table, name } of await existing(sql, tables.filter(isOfUsers))) {
    const rows = await sql(template(`select * from ${quoted(name)} where id = ?`), user);
    for (const row of rows as Record<string, unknown>[]) {
      const { email, phone } = decodeRow(table, row);
      found.push(...[email, phone].filter((value) => typeof value === "string"));
    }
  }
  return found;
}

/** Returns the number of erased rows of each table. */
export async function eraseRows(
  tx: SQL,
  tables: readonly MirrorTable[],
  user: string,
  addresses: readonly string[],
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const to of await existing(tx, tables)) {
    const columns = Object.keys(columnsOf(to.table));
    const sets = columns.filter((column) => !KEPT.includes(column)).map((column) => `${quoted(column)} = null`);
    const conditions = [isOfUsers(to) ? "id = ?" : columns.includes("user_id") ? "user_id = ?" : undefined];
    const values: unknown[] = conditions[0] ? [user] : [];
    const address = isOfUsers(to) ? undefined : ADDRESSES.find((column) => columns.includes(column));
    if (address && addresses.length > 0) {
      conditions.push(`${quoted(address)} in (${holes(addresses)})`);
      values.push(...addresses);
    }
    const where = conditions.filter(Boolean).join(" or ");
    if (where === "") continue;
    const { count } = await tx(template(`update ${quoted(to.name)} set ${sets.join(", ")} where ${where}`), ...values);
    if (count > 0) counts[to.name] = Number(count);
  }
  return counts;
}

/** A server creates the tables of a new mirror; until then, they have no rows to erase. */
async function existing(sql: SQL, tables: readonly MirrorTable[]): Promise<MirrorTable[]> {
  const exists = await Promise.all(tables.map(({ name }) => tableExists(sql, name)));
  return tables.filter((_, index) => exists[index]);
}

function isOfUsers({ table }: Pick<MirrorTable, "table">): boolean {
  return table.kind === "user";
}
