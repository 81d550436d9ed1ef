// `bun run crash [--kills 300] [--seed 1] [--store sqlite|postgres|mixed]`: repeatedly kills a real server
// under load, at random moments and during outages, then audits what it stored and what its handlers did. Prints each
// violation, and exits with 1 if there are any.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import type { Subprocess } from "bun";

import { freePort, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { pick, type Random, seeded } from "../random.ts";
import { audit, type Evidence, isKilledTooOften, type RunRow } from "./audit.ts";
import { handlerFiles } from "./handlers.ts";
import { hasExited, launch } from "./launch.ts";
import { type Load, startLoad } from "./load.ts";
import { parseCall } from "./order.ts";
import { type Outage, type OutageContext, OUTAGES } from "./outages.ts";
import { type CampaignStore, openStore, type StoreName, STORES } from "./stores.ts";
import { type InvariantChecks, type Watch, watchInvariants } from "./watch.ts";

export interface CampaignResult {
  kills: number;
  /** The number of outages, by name. */
  outages: Record<string, number>;
  /** Deliveries that were answered 200. */
  accepted: number;
  runs: number;
  /** Rows that handlers wrote through `db`. */
  effects: number;
  /** Attempts that were interrupted by the death of their process. */
  interrupted: number;
  /** Runs that were killed in each of their attempts. */
  dead: number;
  /** Snapshots of the tables in which the invariants were checked. */
  snapshots: number;
  /** One sentence per violation. */
  violations: string[];
  seconds: number;
}

interface CampaignOptions {
  kills: number;
  seed: number;
  store: CampaignStore;
}

const DEFAULT_KILLS = 300;
// The share of servers that are killed early: perhaps before they listen, or during recovery.
const EARLY_KILL_SHARE = 0.2;
const MAX_EARLY_KILL_MS = 500;
// The share of the other servers that have an outage.
const OUTAGE_SHARE = 0.6;
// The share of outages during which the server is killed.
const KILL_DURING_OUTAGE_SHARE = 1 / 3;
const MAX_RECOVERY_MS = 30_000;
// The load continues after the last kill, to find missing wake-ups, which a restart would hide.
const LAST_LOAD_MS = 1_000;
// A run that was hit by three outages waits for up to 96 s.
const DRAIN_TIMEOUT_MS = 150_000;
const POLL_MS = 100;

const RUNS =
  "select d.id, d.seq, r.handler, r.state, r.attempts, r.spent, r.interrupted, r.reason from run r join delivery d on d.seq = r.seq";
const PAYLOADS = "select d.id from delivery d join payload p on p.seq = d.seq";
const OPEN_RUNS = "select count(*) as open from run where state < 2";

/** Kills a server `kills` times. Returns violations instead of throwing them. */
export async function crashCampaign({ kills, seed, store }: CampaignOptions): Promise<CampaignResult> {
  const began = performance.now();
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, handlerFiles);
  const port = await freePort();
  const random = seeded(seed);
  const load = startLoad(() => `http://127.0.0.1:${port}/api/webhooks`, seeded(seed + 1));
  const checks: InvariantChecks = { snapshots: 0, violations: new Set() };
  const problems: string[] = [];
  const watch = async () =>
    watchInvariants(await store.openReader(folder.path), checks, (error) => {
      if (!load.isOutage) problems.push(`a snapshot failed: ${Bun.inspect(error)}`);
    });
  const possible = OUTAGES.filter((outage) => outage.isPossible(store));
  const outages = Object.fromEntries(possible.map(({ name }) => [name, 0]));

  for (let kill = 0; kill < kills; kill += 1) {
    const isEarly = random() < EARLY_KILL_SHARE;
    const outage = !isEarly && random() < OUTAGE_SHARE ? pick(possible, random) : undefined;
    if (outage) outages[outage.name]! += 1;
    load.isOutage = outage !== undefined;
    load.clockOffsetMs = outage?.launch?.clockOffsetMs ?? 0;
    await using server = launch(folder.path, port, store, outage?.launch);
    const context = { server, store, dataDir: join(folder.path, "data"), random, outage };
    if (isEarly) await Bun.sleep(random() * MAX_EARLY_KILL_MS);
    else problems.push(...(await killUnderLoad(context, load, watch)));
    if (hasExited(server.process) && server.process.signalCode !== "SIGKILL")
      problems.push(`server ${kill} exited by itself:\n${await server.output()}`);
  }

  load.isOutage = false;
  load.clockOffsetMs = 0;
  problems.push(...(await runToEnd(folder.path, port, store, load, watch)));
  const evidence = await collect(store, folder.path, load);
  const violations = [...load.problems, ...problems, ...checks.violations];
  return {
    kills,
    outages,
    accepted: load.accepted.size,
    runs: evidence.runs.length,
    effects: evidence.effects.length,
    interrupted: evidence.runs.reduce((sum, { interrupted }) => sum + interrupted, 0),
    dead: evidence.runs.filter(isKilledTooOften).length,
    snapshots: checks.snapshots,
    violations: [...violations, ...store.damage(folder.path), ...audit(evidence)],
    seconds: Math.round((performance.now() - began) / 100) / 10,
  };
}

/** The number of waiting and running runs. */
export async function openRuns(store: CampaignStore, folder: string): Promise<number> {
  await using reader = await store.openReader(folder);
  const [rows] = await reader.snapshot([OPEN_RUNS]);
  return Number(rows?.[0]?.open);
}

/**
 * Kills the server 5 to 300 ms after its first answer, during an outage or after it, and checks the tables until it is
 * dead. The reader is closed before the next server starts, because SQLite does not recover its log while one is open.
 */
async function killUnderLoad(
  { server, store, dataDir, random, outage }: OutageContext & { outage: Outage | undefined },
  load: Load,
  watch: () => Promise<Watch>,
): Promise<string[]> {
  const { process: child } = server;
  await Promise.race([load.answered(), child.exited]);
  if (hasExited(child)) return [];
  const problems: string[] = [];
  const watching = await watch();
  await pauseUnderLoad(random);
  if (outage?.run) {
    const outageEnd = outage.run({ server, store, dataDir, random });
    if (random() < KILL_DURING_OUTAGE_SHARE) {
      await pauseUnderLoad(random);
      child.kill("SIGKILL");
    }
    await outageEnd;
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

/** Whether the server accepts a delivery within MAX_RECOVERY_MS. True if it has died. */
function isRecovered(load: Load, child: Subprocess): Promise<boolean> {
  const accepted = Promise.race([load.answered(), child.exited]).then(() => true);
  return Promise.race([accepted, Bun.sleep(MAX_RECOVERY_MS).then(() => false)]);
}

/** Starts a last server and stops it when every run has ended. Returns one sentence per problem. */
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
  const watching = hasExited(child) ? undefined : await watch();
  await Bun.sleep(LAST_LOAD_MS);
  await load.stop();
  const allEnded = async () => {
    await Bun.sleep(POLL_MS);
    return hasExited(child) || (await openRuns(store, folder)) === 0;
  };
  await until("every run to end", allEnded, DRAIN_TIMEOUT_MS).catch((error: Error) => problems.push(error.message));
  child.kill("SIGTERM");
  const code = await child.exited;
  if (code !== 0) problems.push(`the last server exited with ${code}:\n${await server.output()}`);
  await watching?.stop();
  return problems;
}

/** Reads what was stored and what the handlers did. */
export async function collect(store: CampaignStore, folder: string, { accepted }: Load): Promise<Evidence> {
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
