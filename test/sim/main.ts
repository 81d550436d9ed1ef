// `bun run sim [--seeds 3000] [--from 1] [--workers 2]` plays so many seeds and stops at the first that breaks a promise.
// `bun run sim --seed 1234 [--trace]` plays one, the same again.

// First, since it changes what everything after it sees.
import "./world.ts";

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";

import { type History, play } from "./history.ts";
import { Dead, takeOver } from "./world.ts";

const TAIL = 60;
const real = { now: performance.now.bind(performance) };

export interface Played {
  seeds: number;
  attempts: number;
  crashes: number;
  broken: History | undefined;
}

if (import.meta.main) {
  // A dead process leaves promises behind that nobody awaits.
  process.on("unhandledRejection", (error) => {
    if (!(error instanceof Dead) && !/closed/.test(String(error))) throw error;
  });
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: { seeds: text, from: text, seed: text, workers: text, share: text, trace: { type: "boolean" } },
  });
  if (values.seed !== undefined) await one(Number(values.seed), values.trace === true);
  else if (values.share !== undefined) await share(values.share);
  else
    await many(
      Number(values.seeds ?? 3_000),
      Number(values.from ?? 1),
      Number(values.workers ?? availableParallelism()),
    );
}

async function one(seed: number, trace: boolean) {
  takeOver();
  const history = await play(seed);
  if (trace) console.log(history.trace.join("\n"));
  console.log(`seed ${seed}: ${history.attempts} attempts, ${history.crashes} crashes`);
  for (const line of history.broken) console.error(`  broken: ${line}`);
  process.exit(history.broken.length === 0 ? 0 : 1);
}

/** One process's part: every `step`th seed. Prints a line of JSON now and then, and at the end. */
async function share(words: string) {
  const [from = 1, to = 1, step = 1] = words.split(" ").map(Number);
  const played: Played = { seeds: 0, attempts: 0, crashes: 0, broken: undefined };
  takeOver();
  let told = real.now();
  for (let seed = from; seed <= to && !played.broken; seed += step) {
    const history = await play(seed);
    played.seeds += 1;
    played.attempts += history.attempts;
    played.crashes += history.crashes;
    if (history.broken.length > 0) played.broken = history;
    if (real.now() - told < 500) continue;
    told = real.now();
    process.stdout.write(`${JSON.stringify(played)}\n`);
  }
  process.stdout.write(`${JSON.stringify(played)}\n`);
  process.exit(0);
}

async function many(seeds: number, from: number, workers: number) {
  const began = real.now();
  const parts: Played[] = [];
  let failed = false;
  const children = Array.from({ length: workers }, (_, index) =>
    Bun.spawn([process.execPath, import.meta.path, "--share", `${from + index} ${from + seeds - 1} ${workers}`], {
      stdout: "pipe",
      stderr: "inherit",
    }),
  );
  const show = () => {
    const sum = (of: "seeds" | "attempts" | "crashes") => parts.reduce((total, part) => total + part[of], 0);
    const seconds = (real.now() - began) / 1_000;
    return `${sum("seeds")} seeds, ${sum("attempts")} attempts, ${sum("crashes")} crashes, ${Math.round(sum("seeds") / seconds)} seeds/s`;
  };
  await Promise.all(
    children.map(async (child, index) => {
      let rest = "";
      for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) parts[index] = JSON.parse(line) as Played;
        if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${show()}`);
        if (!parts[index]?.broken) continue;
        failed = true;
        for (const other of children) other.kill();
      }
      if ((await child.exited) !== 0 && !failed) {
        failed = true;
        console.error(`a share ended with ${child.exitCode}`);
      }
    }),
  );
  if (process.stdout.isTTY) process.stdout.write("\r\x1b[K");
  console.log(show());
  for (const { broken } of Object.values(parts))
    if (broken) {
      console.error(broken.trace.slice(-TAIL).join("\n"));
      for (const line of broken.broken) console.error(`broken: ${line}`);
      console.error(`\nThe same again: bun run sim --seed ${broken.seed} --trace`);
    }
  process.exitCode = failed ? 1 : 0;
}
