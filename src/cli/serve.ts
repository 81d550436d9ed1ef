// `bun dev` and `bun start`: run the server, report its start, and stop it on a signal.

import { existsSync } from "node:fs";
import { resolve } from "node:path";

import { defineCommand } from "citty";

import { urlOf } from "../address.ts";
import { COMMAND } from "../command.ts";
import {
  type Config,
  describeProblems,
  type Environment,
  type Mode,
  processEnvironment,
  readConfig,
  usesDisk,
} from "../config.ts";
import { describeRisk, diskOf } from "../disk.ts";
import { formatDuration } from "../duration.ts";
import { EXIT_CONFIG, UserError } from "../errors.ts";
import { requireFolder } from "../handlers/crawl.ts";
import { logTable } from "../log.ts";
import { createLogger, type Logger } from "../logger.ts";
import type { Server } from "../main.ts";
import { misspelledSettings } from "../settings.ts";
import { banner, describeAddress, localUrl } from "./banner.ts";
import { ensureDevSecret, watchEnvFile } from "./dotenv.ts";
import { openTunnel } from "./relay-tunnel.ts";
import { watchTunnel } from "./tunnel.ts";

export type OpenServer = (config: Config, log: Logger) => Promise<Server>;

// The relay answers a delivery within its own limit, or Svix sends it again.
const LAST_ANSWERS_MS = 2_000;

/** `relayUrl`: a stand-in for Svix's relay, in tests. */
export function dev(openServer: OpenServer, { relayUrl }: { relayUrl?: string } = {}) {
  return defineCommand({
    meta: {
      name: `${COMMAND} dev`,
      description: "Run the server while you write handlers; .env.example lists its settings",
    },
    args: {
      tunnel: { type: "boolean", description: "Open a public address through Svix's relay, without an account" },
    },
    async run({ args }) {
      const made = ensureDevSecret(processEnvironment());
      const env = { ...processEnvironment(), ...made };
      const { config, log, server, onStopped } = await serve("dev", env, openServer);
      console.log(banner(config, server.port, server.table(), server.inspectorLink));
      const useAddress = (url: string | undefined) => {
        server.usePublicUrl(url);
        console.log(describeAddress(server.port, url));
      };
      if (args.tunnel) {
        const tunnel = openTunnel({
          dataDir: resolve(config.dataDir),
          webhookUrl: localUrl(config, server.port),
          onAddress: useAddress,
          info: (line) => log.info(line),
          warn: (line) => log.warn(line),
          ...(relayUrl && { relayUrl }),
        });
        onStopped(() => tunnel.stop(LAST_ANSWERS_MS));
      } else watchTunnel(server.port, (url) => useAddress(url && `${url}${config.webhookPath}`));
      watchEnvFile(env, {
        onConfig: (fresh) => {
          server.useSecrets(fresh.secrets, fresh);
          log.info(`.env has changed: the signing secret is now ${fresh.secretHint}`);
        },
        onNote: (note) => log.warn(note),
      });
    },
  });
}

export function start(openServer: OpenServer) {
  return defineCommand({
    meta: { name: `${COMMAND} start`, description: "Run the server in production; .env.example lists its settings" },
    args: {},
    async run() {
      const env = processEnvironment();
      const { config, log, server } = await serve("start", env, openServer);
      if (!env.NODE_ENV && existsSync(".env.development"))
        log.warn(
          `NODE_ENV is not set, so Bun has read .env.development, too: use ${COMMAND} start, or NODE_ENV=production`,
        );
      const { handlers } = server.table();
      const broken = handlers.filter(({ error }) => error).length;
      log.info(
        { port: server.port, host: config.host, path: config.webhookPath, handlers: handlers.length, broken },
        `listening on ${urlOf(config.host, server.port)}${config.webhookPath}`,
      );
      if (server.inspectorUrl) log.info(`the inspector is on ${server.inspectorUrl}`);
    },
  });
}

/** The configuration; throws a `UserError` that lists all problems, with exit code 78. */
export function configOrUserError(env: Environment, mode: Mode): Config {
  const read = readConfig(env, mode);
  if ("config" in read) return read.config;
  const misspelled = misspelledSettings(env).map((sentence) => `  ${sentence}\n`);
  throw new UserError([describeProblems(read.problems), ...misspelled].join("\n"), EXIT_CONFIG);
}

async function serve(mode: Mode, env: Environment, openServer: OpenServer) {
  const config = configOrUserError(env, mode);
  // In dev, the directory may be created later.
  if (mode === "start") requireFolder(config.handlersDir);
  const log = await createLogger(config);
  const risk = usesDisk(config) ? describeRisk(diskOf(config.dataDir)?.fileSystem) : undefined;
  if (risk) log.warn(`DATA_DIR (${config.dataDir}) is ${risk}`);
  for (const message of misspelledSettings(env)) log.warn(message);
  const server = await openServer(config, log);
  logTable(log, config.handlersDir, server.table());
  const afterwards: (() => Promise<void>)[] = [];
  onStopSignal(async () => {
    const limit = formatDuration(config.shutdownSeconds * 1_000);
    log.info(`stopping: runs in flight may take ${limit} to finish; press Ctrl-C again to stop at once`);
    await server.stop();
    for (const close of afterwards) await close();
    await new Promise<void>((resolve) => log.flush(() => resolve()));
    process.exit(0);
  });
  return { config, log, server, onStopped: (close: () => Promise<void>) => void afterwards.push(close) };
}

// Under `bun run`, one Ctrl-C arrives twice: from the terminal, and from `bun run`, which passes it on.
const ONE_KEY_PRESS_MS = 500;

/** The first signal stops gracefully, a later one at once. */
function onStopSignal(stop: () => Promise<void>) {
  let stoppingSince: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      const now = performance.now();
      if (stoppingSince !== undefined && now - stoppingSince > ONE_KEY_PRESS_MS) process.exit(1);
      if (stoppingSince !== undefined) return;
      stoppingSince = now;
      void stop();
    });
}
