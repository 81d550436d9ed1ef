// `bun drift` compares the mirror's tables with Clerk; exit code 1 when they differ and were not repaired.

import { defineCommand } from "citty";

import { type Difference, drift, type DriftCount } from "../mirror/drift.ts";
import { POLITE_RATE } from "../mirror/polite.ts";
import type { Value } from "../mirror/table.ts";
import { openMirror } from "./mirror.ts";
import { formatTable } from "./table.ts";

// Further differences are only counted.
const MAX_SHOWN = 200;
const MAX_VALUE_CHARACTERS = 40;

const DESCRIPTIONS: Record<Difference["kind"], string> = {
  missing: "is in Clerk and not here",
  extra: "is here and not in Clerk",
  deleted: "is deleted here and not in Clerk",
  different: "",
};

export const driftCommand = defineCommand({
  meta: { name: "bun drift", description: "Compare the mirror's tables with Clerk" },
  args: {
    table: { type: "string", description: "Only this table", valueHint: "users" },
    rate: { type: "string", description: `Requests per second to Clerk (${POLITE_RATE})`, valueHint: "20" },
    fix: { type: "boolean", description: "Repair the tables from Clerk" },
    yes: { type: "boolean", description: "With --fix: also when many rows are marked as deleted" },
  },
  async run({ args: { table, rate, fix = false, yes = false } }) {
    await using opened = await openMirror(rate, table);
    const shown: Difference[] = [];
    const onDifference = (difference: Difference) => void (shown.length < MAX_SHOWN && shown.push(difference));
    const counts = await drift({ ...opened, fix, yes, onDifference }).finally(opened.hideProgress);
    const found = counts.reduce((sum, { differences }) => sum + differences, 0);
    if (shown.length > 0) console.log(`${describe(shown)}\n`);
    if (found > shown.length) console.log(`… and ${(found - shown.length).toLocaleString("en")} more\n`);
    for (const count of counts) console.log(summary(count, fix));
    if (found > 0 && !fix) console.log("\nTo repair them from Clerk: bun drift --fix");
    process.exitCode = found > 0 && !fix ? 1 : 0;
  },
});

function summary({ name, compared, differences }: DriftCount, fix: boolean): string {
  const result =
    differences === 0 ? "the same" : `${differences.toLocaleString("en")} ${fix ? "repaired" : "different"}`;
  return `${name}  ${compared.toLocaleString("en")} in Clerk, ${result}`;
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
      : [[name, kind, id, DESCRIPTIONS[kind]]],
  );
  return formatTable(rows, { shrink: [3] });
}

function show(value: Value): string {
  const text = value instanceof Date ? value.toISOString() : (JSON.stringify(value) ?? "null");
  return text.length > MAX_VALUE_CHARACTERS ? `${text.slice(0, MAX_VALUE_CHARACTERS)}…` : text;
}
