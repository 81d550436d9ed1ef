// `bun test/bench/guard.ts`: some twenty seconds for CI. Bellhop beside the limit, in turns in one run, so that a slow or
// busy machine slows both. Fails when Bellhop accepts less than half of what the limit accepts in the best of the turns:
// noise takes away from some of them, a mistake from all; where it is loud there are more of them. Without the log, of
// which the limit has none.

import { checkInbox } from "./check.ts";
import { turn } from "./measure.ts";
import { createRequests } from "./requests.ts";
import { HANDLER, startBellhop, startLimit } from "./servers.ts";
import { number, ratio, table } from "./table.ts";

const LEAST = 0.5;
const ROUNDS = 5;
const MOST_ROUNDS = 15;
const WARM_UP_ROUNDS = 2;
const SECONDS = 1;
// Enough for both to be busy: with few, the disk is what is measured.
const CONNECTIONS = 256;

await using server = await startBellhop(HANDLER, { env: { LOG_LEVEL: "warn" } });
await using bare = await startLimit();
const requests = createRequests();
const bellhop = { running: server, answered: [] as string[], handles: true as const };
const limit = { running: bare, answered: [] as string[] };
let most = 0;

async function rate(contender: typeof bellhop | typeof limit) {
  requests.prepare(Math.max(most * 1.5, 2_000) * SECONDS);
  const { rate, wrong } = await turn(contender, { requests, connections: CONNECTIONS, seconds: SECONDS });
  if (wrong > 0) throw new Error(`${wrong} answers were not 200`);
  most = Math.max(most, rate);
  return rate;
}

// Compiled code is what is compared.
for (let round = 0; round < WARM_UP_ROUNDS; round += 1) for (const each of [bellhop, limit]) await rate(each);
const rows: { round: number; "Bellhop/s": string; "limit/s": string; ratio: string }[] = [];
const ratios: number[] = [];
for (let round = 1; round <= MOST_ROUNDS; round += 1) {
  if (round > ROUNDS && Math.max(...ratios) >= LEAST) break;
  // Who comes first changes, so that nobody always has the other's leftovers.
  const first = round % 2 === 0 ? await rate(limit) : Number.NaN;
  const ours = await rate(bellhop);
  const theirs = Number.isNaN(first) ? await rate(limit) : first;
  ratios.push(ours / theirs);
  rows.push({ round, "Bellhop/s": number(ours), "limit/s": number(theirs), ratio: ratio(ours / theirs) });
}
console.log(table(rows));

await server.stop();
const wrong = checkInbox(server.folder, bellhop.answered);
for (const each of wrong) console.error(each);
const best = Math.max(...ratios);
const enough = best >= LEAST;
const verdict = enough ? "enough" : `less than ${LEAST}: something on the way of a delivery has become slow`;
console.log(
  `Bellhop accepts ${ratio(best)} of what the limit accepts, in the best of ${ratios.length} turns: ${verdict}`,
);
process.exitCode = enough && wrong.length === 0 ? 0 : 1;
