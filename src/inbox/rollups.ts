// Figures of past minutes and hours, a row for each server, which outlive the server. Written about once a minute, and
// never with a delivery.

import { insertRows, query } from "../store/store.ts";
import type { Access } from "../store/table-access.ts";

/** Figures of one server in one minute or hour. */
export interface Rollup {
  /** Milliseconds: a minute or an hour. */
  span: number;
  /** Unix time in milliseconds. */
  start: number;
  /** Random for each start of a server. */
  server: string;
  /** New deliveries. */
  deliveries: number;
  figures: {
    /** Attempts that failed. */
    failures: number;
    /** The longest time in milliseconds that a run had waited when it began. */
    longestWait: number;
    /** Times from receipt to end: the number of each bucket of durations.ts. */
    times: Readonly<Record<string, number>>;
  };
}

const SAVE = insertRows(
  "rollup",
  { span: "int", start: "int", server: "text", deliveries: "int", figures: "text" },
  { onConflict: "(span, start, server) do update set deliveries = excluded.deliveries, figures = excluded.figures" },
);

const SINCE = query({ span: "int", since: "int" })`
  select start, server, deliveries, figures from rollup where span = :span and start >= :since order by start, server`;

const DELETE = query({ span: "int", before: "int" })`delete from rollup where span = :span and start < :before`;

export type Rollups = ReturnType<typeof createRollups>;

export function createRollups({ read, write }: Access) {
  return {
    /** The rows of minutes or hours (`span`, in milliseconds) since a Unix time, of all servers, oldest first. */
    async list(span: number, since: number): Promise<Rollup[]> {
      type Row = Omit<Rollup, "span" | "figures"> & { figures: string };
      const rows = await read.all<Row>(SINCE, { span, since });
      return rows.map(({ figures, ...row }) => ({ ...row, span, figures: JSON.parse(figures) as Rollup["figures"] }));
    },
    /** Replaces the rows of the same span, start and server, and deletes those of each span that start before its time. */
    save: (rollups: readonly Rollup[], before: ReadonlyMap<number, number>): Promise<void> =>
      write(async (transaction) => {
        const rows = rollups.map(({ figures, ...row }) => ({ ...row, figures: JSON.stringify(figures) }));
        await transaction.run(SAVE, rows);
        for (const [span, time] of before) await transaction.run(DELETE, { span, before: time });
      }),
  };
}
