// `bun run sim [--seeds 3000] [--from 1] [--workers 2]` simulates seeds and stops at the first that breaks a promise.
// `bun run sim --seed 1234 [--trace]` reproduces one seed.

// The first import, because it replaces globals that later modules capture.
import "./world.ts";

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";

import { type History, onUnhandledRejection, simulate } from "./history.ts";
import { Dead, replaceGlobals } from "./world.ts";

const TRACE_TAIL_LINES = 60;
const real = { now: performance.now.bind(performance) };

export interface Progress {
  seeds: number;
  attempts: number;
  crashes: number;
  failed: History | undefined;
}

if (import.meta.main) {
  process.on("unhandledRejection", (error) => {
    // A dead process leaves promises that reject, some of them on connections that were closed with it.
    if (!(error instanceof Dead) && !/(database|connection) (has|is) closed|closed database/i.test(String(error)))
      onUnhandledRejection(error);
  });
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: { seeds: text, from: text, seed: text, workers: text, share: text, trace: { type: "boolean" } },
  });
  if (values.seed !== undefined) await runSeed(Number(values.seed), values.trace === true);
  else if (values.share !== undefined) await runShare(values.share);
  else
    await runWorkers(
      Number(values.seeds ?? 3_000),
      Number(values.from ?? 1),
      Number(values.workers ?? availableParallelism()),
    );
}

async function runSeed(seed: number, trace: boolean) {
  replaceGlobals();
  const history = await simulate(seed);
  if (trace) console.log(history.trace.join("\n"));
  const { servers, attempts, crashes, violations } = history;
  console.log(`seed ${seed}: ${servers} servers, ${attempts} attempts, ${crashes} crashes`);
  for (const violation of violations) console.error(`  violation: ${violation}`);
  process.exit(violations.length === 0 ? 0 : 1);
}

/** Simulates every `step`th seed, in one worker. Prints its progress as a line of JSON every 500 ms and at the end. */
async function runShare(range: string) {
  const [from = 1, to = 1, step = 1] = range.split(" ").map(Number);
  const progress: Progress = { seeds: 0, attempts: 0, crashes: 0, failed: undefined };
  replaceGlobals();
  let printedAt = real.now();
  for (let seed = from; seed <= to && !progress.failed; seed += step) {
    const history = await simulate(seed);
    progress.seeds += 1;
    progress.attempts += history.attempts;
    progress.crashes += history.crashes;
    if (history.violations.length > 0) progress.failed = history;
    if (real.now() - printedAt < 500) continue;
    printedAt = real.now();
    process.stdout.write(`${JSON.stringify(progress)}\n`);
  }
  process.stdout.write(`${JSON.stringify(progress)}\n`);
  process.exit(0);
}

async function runWorkers(seeds: number, from: number, workers: number) {
  const start = real.now();
  const parts: Progress[] = [];
  let failed = false;
  const children = Array.from({ length: workers }, (_, index) =>
    Bun.spawn([process.execPath, import.meta.path, "--share", `${from + index} ${from + seeds - 1} ${workers}`], {
      stdout: "pipe",
      stderr: "inherit",
    }),
  );
  const summary = () => {
    const sum = (of: "seeds" | "attempts" | "crashes") => parts.reduce((total, part) => total + part[of], 0);
    const seconds = (real.now() - start) / 1_000;
    return `${sum("seeds")} seeds, ${sum("attempts")} attempts, ${sum("crashes")} crashes, ${Math.round(sum("seeds") / seconds)} seeds/s`;
  };
  await Promise.all(
    children.map(async (child, index) => {
      let rest = "";
      for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) parts[index] = JSON.parse(line) as Progress;
        if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${summary()}`);
        if (!parts[index]?.failed) continue;
        failed = true;
        for (const other of children) other.kill();
      }
      if ((await child.exited) !== 0 && !failed) {
        failed = true;
        console.error(`a worker exited with ${child.exitCode}`);
      }
    }),
  );
  if (process.stdout.isTTY) process.stdout.write("\r\x1b[K");
  console.log(summary());
  for (const { failed: history } of Object.values(parts))
    if (history) {
      console.error(history.trace.slice(-TRACE_TAIL_LINES).join("\n"));
      for (const violation of history.violations) console.error(`violation: ${violation}`);
      console.error(`\nTo reproduce it: bun run sim --seed ${history.seed} --trace`);
    }
  process.exitCode = failed ? 1 : 0;
}
