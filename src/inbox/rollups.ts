// Figures of past minutes and hours, a row for each server, which outlive the server. Written about once a minute, and
// never with a delivery.

import { insertRows, query, type Reader, type Transaction } from "./store.ts";
import type { Rollup } from "./views.ts";

const SAVE = insertRows(
  "rollup",
  { span: "int", start: "int", server: "text", deliveries: "int", figures: "text" },
  { onConflict: "(span, start, server) do update set deliveries = excluded.deliveries, figures = excluded.figures" },
);

const SINCE = query({ span: "int", since: "int" })`
  select start, server, deliveries, figures from rollup where span = :span and start >= :since order by start, server`;

const DELETE = query({ span: "int", before: "int" })`delete from rollup where span = :span and start < :before`;

type RollupRow = Omit<Rollup, "span" | "figures"> & { figures: string };

/** Replaces the rows of the same span, start and server. */
export async function saveRollups(transaction: Transaction, rollups: readonly Rollup[]): Promise<void> {
  await transaction.run(
    SAVE,
    rollups.map(({ figures, ...row }) => ({ ...row, figures: JSON.stringify(figures) })),
  );
}

/** Oldest first. */
export async function rollups(reader: Reader, span: number, since: number): Promise<Rollup[]> {
  const rows = await reader.all<RollupRow>(SINCE, { span, since });
  return rows.map(({ figures, ...row }) => ({ ...row, span, figures: JSON.parse(figures) as Rollup["figures"] }));
}

export async function deleteRollups(transaction: Transaction, span: number, before: number): Promise<void> {
  await transaction.run(DELETE, { span, before });
}
