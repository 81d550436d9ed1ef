// `bun run bench`: Bellhop beside what people write without it, and beside the least that keeps what it answers; in one
// run on one machine, in turns, since machines are noisy. Signing is not measured, and the generator shows its own
// ceiling. It ends by checking that everything answered 200 is on the disk and was handled exactly once.

import { join } from "node:path";
import { parseArgs } from "node:util";

import { BELLHOP, CEILING, type Contender, contenders } from "./contenders.ts";
import { type Started, type Turn, turn } from "./measure.ts";
import { report, type Result, summary, writeBetween } from "./report.ts";
import { createRequests, type Requests } from "./requests.ts";
import { ROOT } from "./servers.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    readme: { type: "string", default: join(ROOT, "README.md") },
    rounds: { type: "string" },
    seconds: { type: "string" },
    connections: { type: "string", default: "1,32,256" },
    only: { type: "string" },
  },
});
const rounds = positive("rounds", values.rounds ?? (values.quick ? "1" : "3"));
const seconds = positive("seconds", values.seconds ?? (values.quick ? "0.8" : "5"));
const connections = values.connections.split(",").map((many) => positive("connections", many));
const setup = { rounds, seconds, connections };
const WARM_UP_SECONDS = values.quick ? 0.4 : 2;
// Above this share of the ceiling, the generator may be what is measured.
const TOO_CLOSE = 0.7;

await using opened = new AsyncDisposableStack();
const signed = createRequests();
const unlooked = createRequests({ repeat: true });

const started: (Started & { turns: Map<number, Turn[]> })[] = [];
for (const contender of chosen(contenders(signed.size))) {
  await contender.install?.();
  const running = opened.use(await contender.start());
  started.push({ ...contender, running, answered: [], turns: new Map() });
}
for (const each of started) {
  process.stderr.write(`warming up ${each.name}\n`);
  await turn(each, { ...requestsOf(each), connections: 32, seconds: WARM_UP_SECONDS });
}

for (const many of connections) {
  let most = 0;
  for (let round = 0; round < rounds; round += 1) {
    for (const each of inTurn(started, round)) {
      const requests = requestsOf(each).requests;
      // Twice as many as the fastest one has used so far; should they not do, more are signed meanwhile.
      if (requests === signed) signed.prepare(Math.max(most * 2, many * 500) * seconds);
      process.stderr.write(`${many} connections, round ${round + 1} of ${rounds}: ${each.name}\n`);
      const result = await turn(each, { requests, connections: many, seconds });
      if (result.wrong > 0) throw new Error(`${each.name}: ${result.wrong} answers were not 200`);
      each.turns.set(many, [...(each.turns.get(many) ?? []), result]);
      if (each.word !== CEILING) most = Math.max(most, result.rate);
    }
  }
}

const results: Result[] = started.map((contender) => ({ contender, turns: contender.turns }));
console.log(`${report(results, setup)}\n`);
warnOfCeiling();

for (const { running } of started) await running.stop();
const wrong = started.flatMap(({ name, running, answered, ...contender }) => {
  const found = contender.check?.(running.folder, answered) ?? [];
  if (contender.check && found.length === 0)
    console.log(`${name}: all ${answered.length} that were answered 200 are on the disk`);
  return found.map((each) => `${name}: ${each}`);
});
for (const each of wrong) console.error(each);
if (wrong.length === 0) console.log("each was handled exactly once");
else process.exitCode = 1;

if (values.write && wrong.length === 0) {
  const file = Bun.file(values.readme);
  await Bun.write(file, writeBetween(await file.text(), summary(results, setup)));
  console.log(`written into ${values.readme}`);
}

/** Figures of no rounds must not get into a README. */
function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${option} is ${text}, expected numbers above 0`);
  return value;
}

function chosen(all: Contender[]): Contender[] {
  const words = values.only?.split(",");
  const unknown = words?.filter((word) => !all.some((each) => each.word === word)) ?? [];
  if (unknown.length > 0)
    throw new Error(`--only knows ${all.map(({ word }) => word).join(", ")}, and not ${unknown.join(", ")}`);
  return all.filter(({ word }) => !words || words.includes(word) || word === BELLHOP || word === CEILING);
}

function requestsOf({ word }: Contender): { requests: Requests } {
  return { requests: word === CEILING ? unlooked : signed };
}

/** Another one begins in each round: a machine that grows slower is unfair to all alike. */
function inTurn<T>(all: readonly T[], round: number): T[] {
  const first = round % all.length;
  return [...all.slice(first), ...all.slice(0, first)];
}

function warnOfCeiling() {
  const ceiling = started.find(({ word }) => word === CEILING);
  for (const each of started)
    for (const [many, turns] of each.turns) {
      const most = Math.max(...(ceiling?.turns.get(many) ?? []).map(({ rate }) => rate));
      const share = Math.max(...turns.map(({ rate }) => rate)) / most;
      if (each !== ceiling && share > TOO_CLOSE)
        console.log(`${each.name} at ${many} connections: ${Math.round(share * 100)} % of the ceiling`);
    }
}
