// `bun run crash [--kills 300] [--seed 1] [--postgres]`: kills a real server under load, again and again, at random moments, and then
// asks whether everything that was answered 200 ran, in order. Exit code 1, with a list, when something is missing.

import { closeSync, openSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { SQL, type Subprocess } from "bun";

import type { Environment } from "../../src/config.ts";
import { environment, freePort, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { startPostgres } from "../postgres.ts";
import { type Random, seeded } from "../random.ts";
import { type Audit, audit, type EffectRow, handlerFiles, openRuns, sqliteEffects } from "./audit.ts";
import { type Load, startLoad } from "./load.ts";

export interface CampaignResult extends Audit {
  kills: number;
  accepted: number;
  seed: number;
  seconds: number;
}

const MAIN = resolve(import.meta.dir, "../../src/main.ts");
// One in so many dies before it listens, perhaps while it takes up what the last one left.
const EARLY_ONE_IN = 5;
const LONGEST_START_MS = 150;
// A run that was interrupted three times waits for up to 24 s and then takes its turn.
const END_MS = 90_000;

interface Campaign {
  kills: number;
  seed: number;
  /** Where handlers write, instead of SQLite, and how their rows are read. */
  postgres?: { url: string; effects: () => Promise<EffectRow[]> } | undefined;
}

/** Kills a server `kills` times. It never throws for a broken promise: those are in `missing`. */
export async function crashCampaign({ kills, seed, postgres }: Campaign): Promise<CampaignResult> {
  const began = performance.now();
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, handlerFiles);
  const port = await freePort();
  const random = seeded(seed);
  const load = startLoad(`http://127.0.0.1:${port}/api/webhooks`, seeded(seed + 1));
  const problems: string[] = [];
  const env: Environment = postgres ? { DATABASE_URL: postgres.url } : {};

  for (let kill = 0; kill < kills; kill += 1) {
    await using server = launch(folder.path, port, env);
    await someMoment(server.process, load, random);
    if (ended(server.process)) problems.push(`server ${kill} ended by itself:\n${await server.output()}`);
  }

  await using last = launch(folder.path, port, env);
  await Promise.race([load.answered(), last.process.exited]);
  await Bun.sleep(100);
  await load.stop();
  const dataDir = join(folder.path, "data");
  await until("every run to end", () => openRuns(dataDir) === 0 || ended(last.process), END_MS).catch((error: Error) =>
    problems.push(error.message),
  );
  last.process.kill("SIGTERM");
  const code = await last.process.exited;
  if (code !== 0) problems.push(`the last server ended with ${code}:\n${await last.output()}`);
  const effects = postgres ? await postgres.effects() : sqliteEffects(folder.path);
  const found = audit(folder.path, load.accepted, effects);
  return {
    kills,
    accepted: load.accepted.size,
    ...found,
    missing: [...load.problems, ...problems, ...found.missing],
    seed,
    seconds: Math.round((performance.now() - began) / 100) / 10,
  };
}

/** `bun start` on one folder; disposing of it kills it with -9. */
export function launch(folder: string, port: number, env: Environment = {}) {
  const file = join(folder, "server.log");
  const log = openSync(file, "w");
  const child = Bun.spawn([process.execPath, MAIN, "start"], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      ...environment(folder, { PORT: String(port), LOG_LEVEL: "warn", ...env }),
    },
    stdin: "ignore",
    stdout: log,
    stderr: log,
  });
  closeSync(log);
  return {
    process: child,
    output: () => Bun.file(file).text(),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

export function ended(child: Subprocess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** Most often 5 to 300 ms after the first answer; now and then before there is one. */
async function someMoment(child: Subprocess, load: Load, random: Random): Promise<void> {
  if (random() < 1 / EARLY_ONE_IN) return Bun.sleep(random() * LONGEST_START_MS);
  await Promise.race([load.answered(), child.exited]);
  await Bun.sleep(5 + random() * 295);
}

async function postgresEffects(url: string): Promise<EffectRow[]> {
  await using sql = new SQL(url);
  return await sql`select * from effects`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { kills: { type: "string" }, seed: { type: "string" }, postgres: { type: "boolean" } },
  });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 1_000_000));
  console.log(`seed ${seed}`);
  await using server = values.postgres ? await startPostgres({ fsync: true }) : undefined;
  const url = await server?.database();
  const postgres = url === undefined ? undefined : { url, effects: () => postgresEffects(url) };
  const { missing, ...figures } = await crashCampaign({ kills: Number(values.kills ?? 300), seed, postgres });
  console.log(figures);
  for (const line of missing) console.error(line);
  console.log(missing.length === 0 ? "nothing is missing" : `${missing.length} broken promises`);
  process.exitCode = missing.length === 0 ? 0 : 1;
}
