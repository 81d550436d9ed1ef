// `bun backfill` fetches everybody who was there before the webhooks into the mirror's tables.

import { defineCommand } from "citty";

import { backfill } from "../mirror/backfill.ts";
import { POLITE_RATE } from "../mirror/polite.ts";
import { openMirror } from "./mirror.ts";

export const backfillCommand = defineCommand({
  meta: { name: "bun backfill", description: "Fetch the users who were there before into the mirror's tables" },
  args: {
    table: { type: "string", description: "Only this one", valueHint: "users" },
    rate: { type: "string", description: `Requests a second to Clerk (${POLITE_RATE})`, valueHint: "20" },
    restart: { type: "boolean", description: "From the beginning, although an earlier one was stopped" },
  },
  async run({ args: { table, rate, restart = false } }) {
    const began = performance.now();
    await using opened = await openMirror(rate, table);
    const read = await backfill({ ...opened, restart }).finally(opened.quiet);
    for (const [name, count] of Object.entries(read)) console.log(`${name}  ${count.toLocaleString("en")} from Clerk`);
    console.log(`\nDone in ${Math.ceil((performance.now() - began) / 1_000)} s. Whether they are the same: bun drift`);
  },
});
