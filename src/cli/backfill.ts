// `bun backfill` copies what Clerk had before the first webhook into the mirror's tables.

import { defineCommand } from "citty";

import { backfill } from "../mirror/backfill.ts";
import { saveInstance } from "../mirror/instance.ts";
import { POLITE_RATE } from "../mirror/polite.ts";
import { openMirror } from "./mirror.ts";

export const backfillCommand = defineCommand({
  meta: { name: "bun backfill", description: "Copy what Clerk had before the first webhook into the mirror's tables" },
  args: {
    table: { type: "string", description: "Only this table", valueHint: "users" },
    rate: { type: "string", description: `Requests per second to Clerk (${POLITE_RATE})`, valueHint: "20" },
    restart: { type: "boolean", description: "Start over, although an earlier backfill was stopped" },
  },
  async run({ args: { table, rate, restart = false } }) {
    const startedAt = performance.now();
    await using opened = await openMirror(rate, table);
    const { effects, instance } = opened;
    if (instance !== undefined) await effects.write((tx) => saveInstance(tx, instance));
    const read = await backfill({ ...opened, restart }).finally(opened.hideProgress);
    for (const [name, count] of Object.entries(read)) console.log(`${name}  ${count.toLocaleString("en")} from Clerk`);
    console.log(
      `\nDone in ${Math.ceil((performance.now() - startedAt) / 1_000)} s. Compare the tables with Clerk: bun drift`,
    );
  },
});
