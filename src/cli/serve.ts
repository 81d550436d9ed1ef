// `bun dev` and `bun start`: the server, what it says when it begins, and how it ends.

import { defineCommand } from "citty";

import {
  type Config,
  describeProblems,
  type Environment,
  type Mode,
  processEnvironment,
  readConfig,
} from "../config.ts";
import { EXIT_CONFIG, UserError } from "../errors.ts";
import { createLogger, type Logger } from "../log.ts";
import type { Server } from "../main.ts";
import { banner, describeAddress } from "./banner.ts";
import { ensureDevSecret, watchEnvFile } from "./dotenv.ts";
import { watchTunnel } from "./tunnel.ts";

export type OpenServer = (config: Config, log: Logger) => Promise<Server>;

export function dev(openServer: OpenServer) {
  return defineCommand({
    meta: { name: "bun dev", description: "Run the server while you write handlers; .env.example lists its settings" },
    args: {},
    async run() {
      const made = ensureDevSecret(processEnvironment());
      const env = { ...processEnvironment(), ...made };
      const { config, log, server } = await serve("dev", env, openServer);
      console.log(banner(config, server.port, server.table(), server.inspectorUrl));
      watchTunnel(server.port, (url) => {
        server.usePublicUrl(url && `${url}${config.webhookPath}`);
        console.log(describeAddress(config, server.port, url));
      });
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
    meta: { name: "bun start", description: "Run the server in production; .env.example lists its settings" },
    args: {},
    async run() {
      const { config, log, server } = await serve("start", processEnvironment(), openServer);
      const { handlers } = server.table();
      const broken = handlers.filter(({ error }) => error).length;
      log.info(
        { port: server.port, host: config.host, path: config.webhookPath, handlers: handlers.length, broken },
        `listening on http://${config.host}:${server.port}${config.webhookPath}`,
      );
      if (server.inspectorUrl) log.info(`the inspector is on ${server.inspectorUrl}`);
    },
  });
}

/** The settings, or a sentence about each problem and exit code 78. */
export function configOrExplain(env: Environment, mode: Mode): Config {
  const read = readConfig(env, mode);
  if ("config" in read) return read.config;
  throw new UserError(describeProblems(read.problems), EXIT_CONFIG);
}

async function serve(mode: Mode, env: Environment, openServer: OpenServer) {
  const config = configOrExplain(env, mode);
  const log = await createLogger(config);
  const server = await openServer(config, log);
  for (const { file, error, warning } of server.table().handlers) {
    if (error)
      log.error(
        `${config.handlersDir}/${error.where} is not loaded: ${error.message}${error.source ? `\n    ${error.source}` : ""}`,
      );
    if (warning) log.warn(`${config.handlersDir}/${file}: ${warning}`);
  }
  for (const { file, reason, quiet } of server.table().notHandlers)
    if (!quiet) log.warn(`${config.handlersDir}/${file} is no handler: ${reason}`);
  onStopSignal(async () => {
    log.info("stopping: what is running may finish; once more to stop at once");
    await server.stop();
    log.flush();
    process.exit(0);
  });
  return { config, log, server };
}

/** The first signal asks, the second one insists. */
function onStopSignal(stop: () => Promise<void>) {
  let asked = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      if (asked) process.exit(1);
      asked = true;
      void stop();
    });
}
