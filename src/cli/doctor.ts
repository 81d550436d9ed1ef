// `bun doctor` checks this installation and what it depends on, a line for each finding. With `--fix`, it repairs what it
// can, after asking. It changes nothing otherwise.

import { existsSync } from "node:fs";
import { resolve } from "node:path";

import { defineCommand } from "citty";

import { createClerk } from "../clerk/client.ts";
import { SAMPLE_INSTANCE } from "../clerk/dashboard.ts";
import { COMMAND } from "../command.ts";
import { type Config, type Environment, handlersDirOf, processEnvironment, readConfig, usesDisk } from "../config.ts";
import { count } from "../count.ts";
import { openEffects } from "../db/effects.ts";
import { describeDatabase } from "../db/url.ts";
import { diskOf } from "../disk.ts";
import { messageOf } from "../errors.ts";
import { loadHandlers, schemaOf } from "../handlers/loader.ts";
import { printable } from "../printable.ts";
import { localUrl } from "./banner.ts";
import { checkBun, checkDisk, checkHandlers, checkPackages, checkSecret, checkSettings } from "./check-installation.ts";
import { checkAddress, checkClock, checkEndpoint, checkHealth, checkKey } from "./check-network.ts";
import { checkDatabase, checkInbox, checkMigrations, checkRefused, checkServer } from "./check-stores.ts";
import { connect, connectOrOpen } from "./connect.ts";
import { type Finding, note, problem } from "./finding.ts";
import { refuseOptions } from "./options.ts";
import { findTunnel } from "./tunnel.ts";

const SIGNS = { ok: "✓", note: "·", problem: "✗" } as const;

export const doctor = defineCommand({
  meta: { name: `${COMMAND} doctor`, description: "Check this installation, and what it depends on" },
  args: {
    url: { type: "string", description: "Also check this public address", valueHint: "https://hooks.example.com/…" },
    fix: { type: "boolean", description: "Repair what can be repaired, after asking" },
    yes: { type: "boolean", description: "With --fix: do not ask" },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args: { url, fix, yes, json } }) {
    if (!fix) refuseOptions({ yes }, ["yes"], "needs --fix");
    await using opened = new AsyncDisposableStack();
    const findings = await examine(processEnvironment(), url, opened);
    if (json)
      console.log(
        JSON.stringify(
          findings.map(({ fix: _, ...finding }) => finding),
          null,
          2,
        ),
      );
    else console.log(describeFindings(findings));
    const repaired = fix ? await repair(findings, yes === true) : new Set<Finding>();
    const left = findings.filter((finding) => finding.state === "problem" && !repaired.has(finding));
    await opened.disposeAsync();
    // Timers and sockets that the handlers' modules opened keep the process alive.
    process.exit(left.length > 0 ? 1 : 0);
  },
});

/** Every check. A check that fails is a finding, and does not end the others. */
async function examine(env: Environment, url: string | undefined, opened: AsyncDisposableStack): Promise<Finding[]> {
  const read = readConfig(env, env.NODE_ENV === "production" ? "start" : "dev");
  const table = await loadHandlers(handlersDirOf(env), () => undefined);
  const findings = [checkBun(), checkPackages(), ...checkSettings(read, env), ...checkHandlers(table)];
  if ("problems" in read) return findings;
  const { config } = read;
  findings.push(checkSecret(config), checkDisk(resolve(config.dataDir), diskOf(config.dataDir), usesDisk(config)));
  const stores = await inSteps("inbox", () => examineInbox(config, url));
  findings.push(...stores.findings);
  // The folder of a server may have been moved away: then its port is the only way to it.
  const health = await checkHealth(stores.webhookUrl ?? localUrl(config, config.port));
  findings.push(...health.filter(({ state }) => stores.webhookUrl !== undefined || state === "problem"));
  await inSteps("database", async () => {
    const { database } = config;
    if (database.kind === "sqlite" && !existsSync(database.filename)) {
      const fact = `there is no ${describeDatabase(database)} yet`;
      return { findings: [note("database", fact, "A server creates it when it starts")] };
    }
    const effects = opened.use(await openEffects(config.database));
    const answers = await checkDatabase(config, effects);
    findings.push(answers);
    if (answers.state === "ok") findings.push(await checkMigrations(effects, schemaOf(table)));
    return { findings: [] };
  }).then(({ findings: failed }) => findings.push(...failed));
  findings.push(await checkClock(config.clerkApiUrl), await checkKey(await createClerk(config), stores.instance));
  return findings;
}

interface Examined {
  findings: Finding[];
  instance?: string | undefined;
  /** Of the running server. */
  webhookUrl?: string | undefined;
}

async function inSteps(name: string, examineStep: () => Promise<Examined>): Promise<Examined> {
  try {
    return await examineStep();
  } catch (error) {
    // A `UserError` has its remedy in a paragraph of its own.
    const [fact, remedy = `Fix this, then run ${COMMAND} doctor again`] = messageOf(error).split(/\n\n +/);
    return { findings: [problem(name, fact!, remedy.trim().replaceAll(/\n */g, " "))] };
  }
}

/** The inbox, and what a running server knows. */
async function examineInbox(config: Config, url: string | undefined): Promise<Examined> {
  if (!config.inbox && !existsSync(config.dataDir))
    return {
      findings: [note("inbox", `there is no inbox in ${config.dataDir} yet`, `Start a server: ${COMMAND} dev`)],
    };
  await using client = await connectOrOpen(config);
  const { found, instance } = await checkInbox(client, config);
  // Commands open an inbox in Postgres themselves, also when a server runs here.
  const live = (await client.live()) ?? (await (await connect(config.dataDir))?.live());
  const port = live ? Number(new URL(live.server.webhookUrl).port) : config.port;
  const tunnel = await findTunnel(port);
  const isDev = (live?.server.mode ?? config.mode) === "dev";
  const findings = [...found, checkServer(live?.server), checkAddress(tunnel, config.webhookPath, isDev)];
  if (live) findings.push(await checkEndpoint(live.server.webhookUrl, "this server"), ...checkRefused(live.refused));
  else findings.push(note("refused", "not checked: only a running server knows the requests that it has refused"));
  const outside = url ?? (tunnel && `${tunnel}${config.webhookPath}`);
  if (outside) findings.push(await checkEndpoint(outside, "the public address"));
  const webhookUrl = live?.server.webhookUrl;
  return { findings, instance: instance === SAMPLE_INSTANCE ? undefined : instance, webhookUrl };
}

export function describeFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ state, name, fact, remedy }) => [
    `${SIGNS[state]} ${name.padEnd(width)}  ${printable(fact)}`,
    ...(remedy ? [`${" ".repeat(width + 4)}${printable(remedy)}`] : []),
  ]);
  const problems = findings.filter(({ state }) => state === "problem").length;
  const summary =
    problems === 0
      ? "Nothing needs a person."
      : `${count(problems, "of these needs a person", "of these need a person")}.`;
  return [...lines, "", summary].join("\n");
}

/** Returns the findings that were repaired. */
async function repair(findings: readonly Finding[], yes: boolean): Promise<Set<Finding>> {
  const repaired = new Set<Finding>();
  for (const finding of findings) {
    const { fix } = finding;
    if (!fix || !(yes || (process.stdin.isTTY && confirm(fix.question)))) continue;
    try {
      await fix.apply();
      repaired.add(finding);
      console.error(`fixed: ${finding.name}`);
    } catch (error) {
      console.error(`not fixed: ${finding.name}: ${messageOf(error)}`);
    }
  }
  return repaired;
}
