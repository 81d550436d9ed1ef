// `bun drift` compares the mirror's tables with Clerk; exit code 1 when they differ and were not repaired.

import { defineCommand } from "citty";

import { type Difference, drift, type DriftCount } from "../mirror/drift.ts";
import { POLITE_RATE } from "../mirror/polite.ts";
import type { Value } from "../mirror/table.ts";
import { openMirror } from "./mirror.ts";

// More than this nobody reads; they are counted.
const SHOWN = 200;
const LONGEST_VALUE = 40;

const SAYS: Record<Difference["kind"], string> = {
  missing: "is in Clerk and not here",
  extra: "is here and not in Clerk",
  deleted: "is deleted here, and in Clerk it is not",
  different: "",
};

export const driftCommand = defineCommand({
  meta: { name: "bun drift", description: "Compare the mirror's tables with Clerk" },
  args: {
    table: { type: "string", description: "Only this one", valueHint: "users" },
    rate: { type: "string", description: `Requests a second to Clerk (${POLITE_RATE})`, valueHint: "20" },
    fix: { type: "boolean", description: "Make the tables as Clerk is" },
  },
  async run({ args: { table, rate, fix = false } }) {
    await using opened = await openMirror(rate, table);
    const shown: Difference[] = [];
    const onDifference = (difference: Difference) => void (shown.length < SHOWN && shown.push(difference));
    const counts = await drift({ ...opened, fix, onDifference }).finally(opened.quiet);
    const found = counts.reduce((sum, { differences }) => sum + differences, 0);
    if (shown.length > 0) console.log(`${describe(shown)}\n`);
    if (found > shown.length) console.log(`… and ${(found - shown.length).toLocaleString("en")} more\n`);
    for (const count of counts) console.log(summary(count, fix));
    if (found > 0 && !fix) console.log("\nTo make them as Clerk is: bun drift --fix");
    process.exitCode = found > 0 && !fix ? 1 : 0;
  },
});

function summary({ name, compared, differences }: DriftCount, fix: boolean): string {
  const said = differences === 0 ? "the same" : `${differences.toLocaleString("en")} ${fix ? "repaired" : "different"}`;
  return `${name}  ${compared.toLocaleString("en")} in Clerk, ${said}`;
}

/** A line for each difference, and for each column that differs. */
function describe(differences: readonly Difference[]): string {
  const rows = differences.flatMap(({ name, kind, id, fields }) =>
    kind === "different"
      ? fields.map((field) => [
          name,
          kind,
          id,
          `${field.name}: ${show(field.here)} here, ${show(field.there)} in Clerk`,
        ])
      : [[name, kind, id, SAYS[kind]]],
  );
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n");
}

function show(value: Value): string {
  const text = value instanceof Date ? value.toISOString() : (JSON.stringify(value) ?? "null");
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}
