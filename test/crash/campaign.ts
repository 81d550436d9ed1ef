// `bun run crash [--kills 300] [--seed 1] [--store sqlite|postgres|mixed]`: kills a real server under load, again and again, at
// random moments and between outages, and then audits what it stored and what its handlers did. Exit code 1, with a list,
// after a violation.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import type { Subprocess } from "bun";

import { freePort, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { pick, type Random, seeded } from "../random.ts";
import { audit, type Evidence, isKilledTooOften, type RunRow } from "./audit.ts";
import { handlerFiles } from "./handlers.ts";
import { ended, launch } from "./launch.ts";
import { type Load, startLoad } from "./load.ts";
import { parseCall } from "./order.ts";
import { type Outage, type OutageContext, OUTAGES } from "./outages.ts";
import { type CampaignStore, openStore, type StoreName, STORES } from "./stores.ts";
import { type Looks, type Watch, watchInvariants } from "./watch.ts";

export interface CampaignResult {
  kills: number;
  /** How many of each kind, by name. */
  outages: Record<string, number>;
  /** Deliveries that were answered 200. */
  accepted: number;
  runs: number;
  /** Rows that handlers wrote through `db`. */
  effects: number;
  /** Attempts that ended with their process. */
  interrupted: number;
  /** Runs that were killed in each of their attempts. */
  dead: number;
  /** Snapshots in which the tables' invariants were checked. */
  looks: number;
  /** A sentence for each. */
  violations: string[];
  seconds: number;
}

interface CampaignOptions {
  kills: number;
  seed: number;
  store: CampaignStore;
}

const DEFAULT_KILLS = 300;
// One server in so many dies early, perhaps before it listens or while it recovers what the last one left.
const EARLY_ONE_IN = 5;
const LONGEST_START_MS = 500;
// Of the servers that live for longer.
const OUTAGE_SHARE = 0.6;
// One server in so many is killed during its outage.
const DURING_ONE_IN = 3;
const LONGEST_RECOVERY_MS = 30_000;
// After the last kill, for wake-ups that a restart would hide.
const LAST_LOAD_MS = 1_000;
// A run that met three outages waits for up to 96 s.
const END_MS = 150_000;
const INTERVAL_MS = 100;

const RUNS =
  "select d.id, d.seq, r.handler, r.state, r.attempts, r.spent, r.interrupted, r.reason from run r join delivery d on d.seq = r.seq";
const PAYLOADS = "select d.id from delivery d join payload p on p.seq = d.seq";
const OPEN_RUNS = "select count(*) as open from run where state < 2";

/** Kills a server `kills` times. Returns violations, and throws none. */
export async function crashCampaign({ kills, seed, store }: CampaignOptions): Promise<CampaignResult> {
  const began = performance.now();
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, handlerFiles);
  const port = await freePort();
  const random = seeded(seed);
  const load = startLoad(`http://127.0.0.1:${port}/api/webhooks`, seeded(seed + 1));
  const looks: Looks = { count: 0, violations: new Set() };
  const problems: string[] = [];
  const watch = async () =>
    watchInvariants(await store.openReader(folder.path), looks, (error) => {
      if (!load.isOutage) problems.push(`a look failed: ${Bun.inspect(error)}`);
    });
  const possible = OUTAGES.filter((outage) => outage.isPossible(store));
  const outages = Object.fromEntries(possible.map(({ name }) => [name, 0]));

  for (let kill = 0; kill < kills; kill += 1) {
    const isEarly = random() < 1 / EARLY_ONE_IN;
    const outage = !isEarly && random() < OUTAGE_SHARE ? pick(possible, random) : undefined;
    if (outage) outages[outage.name]! += 1;
    load.isOutage = outage !== undefined;
    load.clockOffsetMs = outage?.launch?.clockOffsetMs ?? 0;
    await using server = launch(folder.path, port, store, outage?.launch);
    const context = { server, store, dataDir: join(folder.path, "data"), random, outage };
    if (isEarly) await Bun.sleep(random() * LONGEST_START_MS);
    else problems.push(...(await killUnderLoad(context, load, watch)));
    if (ended(server.process) && server.process.signalCode !== "SIGKILL")
      problems.push(`server ${kill} ended by itself:\n${await server.output()}`);
  }

  load.isOutage = false;
  load.clockOffsetMs = 0;
  problems.push(...(await runToEnd(folder.path, port, store, load, watch)));
  const evidence = await collect(store, folder.path, load);
  const violations = [...load.problems, ...problems, ...looks.violations];
  return {
    kills,
    outages,
    accepted: load.accepted.size,
    runs: evidence.runs.length,
    effects: evidence.effects.length,
    interrupted: evidence.runs.reduce((sum, { interrupted }) => sum + interrupted, 0),
    dead: evidence.runs.filter(isKilledTooOften).length,
    looks: looks.count,
    violations: [...violations, ...store.damage(folder.path), ...audit(evidence)],
    seconds: Math.round((performance.now() - began) / 100) / 10,
  };
}

/** How many runs are waiting or running. */
export async function openRuns(store: CampaignStore, folder: string): Promise<number> {
  await using reader = await store.openReader(folder);
  const [rows] = await reader.snapshot([OPEN_RUNS]);
  return Number(rows?.[0]?.open);
}

/**
 * Kills the server 5 to 300 ms after its first answer, during an outage or after it, and looks at the tables until it is
 * dead. The reader is closed before the next server starts: beside an open one, SQLite does not recover its log.
 */
async function killUnderLoad(
  { server, store, dataDir, random, outage }: OutageContext & { outage: Outage | undefined },
  load: Load,
  watch: () => Promise<Watch>,
): Promise<string[]> {
  const { process: child } = server;
  await Promise.race([load.answered(), child.exited]);
  if (ended(child)) return [];
  const problems: string[] = [];
  const watching = await watch();
  await pauseUnderLoad(random);
  if (outage?.run) {
    const over = outage.run({ server, store, dataDir, random });
    if (random() < 1 / DURING_ONE_IN) {
      await pauseUnderLoad(random);
      child.kill("SIGKILL");
    }
    await over;
    if (!(await isRecovered(load, child))) problems.push(`no delivery was accepted after: ${outage.name}`);
    await pauseUnderLoad(random);
  }
  child.kill("SIGKILL");
  await child.exited;
  await watching.stop();
  return problems;
}

function pauseUnderLoad(random: Random): Promise<void> {
  return Bun.sleep(5 + random() * 295);
}

/** Whether it accepts a delivery soon, unless it is dead. */
function isRecovered(load: Load, child: Subprocess): Promise<boolean> {
  const accepted = Promise.race([load.answered(), child.exited]).then(() => true);
  return Promise.race([accepted, Bun.sleep(LONGEST_RECOVERY_MS).then(() => false)]);
}

/** Starts a last server, and stops it when every run has ended. Returns a sentence for each problem. */
async function runToEnd(
  folder: string,
  port: number,
  store: CampaignStore,
  load: Load,
  watch: () => Promise<Watch>,
): Promise<string[]> {
  const problems: string[] = [];
  await using server = launch(folder, port, store);
  const { process: child } = server;
  await Promise.race([load.answered(), child.exited]);
  const watching = ended(child) ? undefined : await watch();
  await Bun.sleep(LAST_LOAD_MS);
  await load.stop();
  const allEnded = async () => {
    await Bun.sleep(INTERVAL_MS);
    return ended(child) || (await openRuns(store, folder)) === 0;
  };
  await until("every run to end", allEnded, END_MS).catch((error: Error) => problems.push(error.message));
  child.kill("SIGTERM");
  const code = await child.exited;
  if (code !== 0) problems.push(`the last server ended with ${code}:\n${await server.output()}`);
  await watching?.stop();
  return problems;
}

async function collect(store: CampaignStore, folder: string, { accepted }: Load): Promise<Evidence> {
  await using reader = await store.openReader(folder);
  const [runs = [], payloads = []] = await reader.snapshot([RUNS, PAYLOADS]);
  const text = await readFile(join(folder, "calls.log"), "utf8");
  return {
    accepted,
    // Postgres returns a bigint as text.
    runs: runs.map((row) => ({ ...row, seq: Number(row.seq) }) as RunRow),
    payloads: new Set(payloads.map(({ id }) => String(id))),
    effects: await store.effects(folder),
    calls: text.trimEnd().split("\n").map(parseCall),
  };
}

export function describeResult(store: StoreName, seed: number, result: CampaignResult) {
  const { violations, seconds, outages, ...figures } = result;
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(", ");
  const counts = list({ ...figures, violations: violations.length });
  return `${store}: ${counts} in ${seconds} s (--seed ${seed})\noutages: ${list(outages)}`;
}

function isStore(name: string): name is StoreName {
  return (STORES as readonly string[]).includes(name);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      kills: { type: "string", default: String(DEFAULT_KILLS) },
      seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
      store: { type: "string", multiple: true, default: ["sqlite"] },
    },
  });
  const [kills, seed] = [Number(values.kills), Number(values.seed)];
  for (const name of values.store) {
    if (!isStore(name)) throw new Error(`--store is ${STORES.join(", ")}, not ${name}`);
    await using store = await openStore(name);
    const result = await crashCampaign({ kills, seed, store });
    for (const violation of result.violations) console.error(violation);
    console.log(describeResult(name, seed, result));
    if (result.violations.length > 0) process.exitCode = 1;
  }
}
