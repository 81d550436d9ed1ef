// Measures contenders in alternating rounds: a machine that slows down, or a database that is busy with its own upkeep,
// affects all of them equally.

import { median } from "./histogram.ts";
import { type Turn, turn } from "./measure.ts";
import { createRequests } from "./requests.ts";
import type { Checked } from "./servers.ts";

export interface Entrant {
  name: string;
  running: Checked;
  answered: string[];
  handles: true;
}

interface Rounds {
  rounds: number;
  seconds: number;
  connections: number;
}

const WARM_UP_SECONDS = 2;
const WARM_UP_CONNECTIONS = 64;

const requests = createRequests();
let fastest = 2_000;

export function entrant(name: string, running: Entrant["running"]): Entrant {
  return { name, running, answered: [], handles: true };
}

async function measure(contender: Entrant, connections: number, seconds: number): Promise<Turn> {
  requests.prepare(fastest * 1.5, seconds);
  const result = await turn(contender, { requests, connections, seconds });
  if (result.wrong > 0) throw new Error(`${contender.name}: ${result.wrong} responses were not 200`);
  fastest = Math.max(fastest, result.rate);
  return result;
}

export async function warmUp(entrants: readonly Entrant[], seconds: number): Promise<void> {
  for (const contender of entrants) {
    process.stderr.write(`warming up ${contender.name}\n`);
    await measure(contender, WARM_UP_CONNECTIONS, Math.min(seconds, WARM_UP_SECONDS));
  }
}

/** The turns of each contender, by round. */
export async function alternate(
  entrants: readonly Entrant[],
  { rounds, seconds, connections }: Rounds,
): Promise<Map<Entrant, Turn[]>> {
  const turns = new Map(entrants.map((contender) => [contender, [] as Turn[]]));
  for (let round = 0; round < rounds; round += 1) {
    // Each round starts with another contender.
    const first = round % entrants.length;
    for (const contender of [...entrants.slice(first), ...entrants.slice(0, first)]) {
      process.stderr.write(`${connections} in flight, round ${round + 1} of ${rounds}: ${contender.name}\n`);
      turns.get(contender)!.push(await measure(contender, connections, seconds));
    }
  }
  return turns;
}

/** The median of the ratios within each round. */
export function ratioOf(turns: readonly Turn[], others: readonly Turn[], figure: (turn: Turn) => number): number {
  return median(turns.map((current, round) => figure(current) / figure(others[round]!)));
}

/** Stops each contender and checks its tables. Prints the result, and makes the process fail if there is a problem. */
export async function stopAndCheck(entrants: readonly Entrant[]): Promise<void> {
  for (const { name, running, answered } of entrants) {
    await running.stop();
    const problems = await running.check(answered);
    if (problems.length > 0) process.exitCode = 1;
    else console.log(`${name}: each of ${answered.length.toLocaleString("en")} deliveries was handled exactly once`);
    for (const problem of problems) console.error(`${name}: ${problem}`);
  }
}
