// `bun replay --lost`: replays runs that are done in the inbox and missing in the handlers' database.

import { isConfirmed } from "./bulk.ts";
import type { Client } from "./client.ts";

const SHOWN = 10;

/** Returns whether all of them are replayed. */
export async function replayLost(client: Client, { yes, dryRun }: { yes: boolean; dryRun: boolean }): Promise<boolean> {
  const { runs } = await client.lost();
  if (runs.length === 0) {
    console.log("No run is lost: all runs that are done are in the handlers' database.");
    return true;
  }
  const count = runs.length.toLocaleString("en");
  console.log(`${count} ${runs.length === 1 ? "run is" : "runs are"} done and missing in the handlers' database:`);
  for (const { delivery, handler } of runs.slice(0, SHOWN)) console.log(`  ${delivery}  ${handler}`);
  if (runs.length > SHOWN) console.log(`  and ${(runs.length - SHOWN).toLocaleString("en")} more`);
  if (dryRun) return true;
  if (!yes && !isConfirmed("Run them again now? Effects outside of db, such as an e-mail, happen again.")) {
    console.log("Nothing was run.");
    return false;
  }
  let left = 0;
  for (const { delivery, handler } of runs) {
    const answer = await client.replay(delivery, { handler });
    if (!("error" in answer)) continue;
    left += 1;
    console.log(`  ${delivery} can't be replayed in ${handler}: ${answer.error}`);
  }
  console.log(`${(runs.length - left).toLocaleString("en")} replayed; bun deliveries shows their results.`);
  return left === 0;
}
