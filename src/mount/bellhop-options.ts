// The options of `createBellhop`: the settings of the environment, under other names.

import {
  type Config,
  describeProblems,
  type Environment,
  type Problem,
  readConfig,
  withAbsolutePaths,
} from "../config.ts";
import { EXIT_CONFIG, UserError } from "../errors.ts";
import { type SettingName, settings } from "../settings.ts";
import { didYouMean } from "../suggest.ts";

type CamelCase<Name extends string> = Name extends `${infer First}_${infer Rest}`
  ? `${Lowercase<First>}${Capitalize<CamelCase<Rest>>}`
  : Lowercase<Name>;

/**
 * Each setting of the environment, in camel case: `DATA_DIR` is `dataDir`. What is left out is read from the environment.
 * `port` is the application's own, where `send` and the inspector post samples.
 */
type SettingOptions = { [Name in SettingName as CamelCase<Name>]?: string | number | undefined };

export interface BellhopOptions extends SettingOptions {
  /** Reload handlers when they change, and accept a secret made for development. Default: `NODE_ENV !== "production"`. */
  dev?: boolean;
  /** Open the inspector on its own port. In production it also needs `inspectorToken`. Default: `false`. */
  inspector?: boolean;
}

/** The environment, with the options in place of its variables. */
export function configOf(options: BellhopOptions, environment: Environment): Config {
  const { dev = environment.NODE_ENV !== "production", inspector = false, ...given } = options;
  // As applications and their development servers name this machine. Only shown, since the application listens.
  const env: Record<string, string | undefined> = { HOST: "localhost", ...environment };
  // The process is the application's, so it ends only if the application asks for it.
  env.BLOCKED_SECONDS = environment.BLOCKED_SECONDS?.trim() || "0";
  for (const [option, value] of Object.entries(given)) {
    const name = option.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
    if (!settings.some((setting) => setting.name === name))
      throw new UserError(`createBellhop has no option ${option}${didYouMean(option, optionNames())}`);
    if (value !== undefined) env[name] = String(value);
  }
  const read = readConfig(env, dev ? "dev" : "start");
  const problems = "problems" in read ? [...read.problems] : [];
  if (inspector && !dev && !env.INSPECTOR_TOKEN?.trim())
    problems.push({
      name: "INSPECTOR_TOKEN",
      message: "is not set, and the inspector needs it in production",
      example: "INSPECTOR_TOKEN=…   (make one: openssl rand -hex 24)",
    });
  if ("config" in read && problems.length === 0) return withAbsolutePaths(read.config);
  const hint = dev && isSecretMissing(problems) ? `\n  To make a secret for development: bunx bellhop init\n` : "";
  throw new UserError(`${describeProblems(problems)}${hint}`, EXIT_CONFIG);
}

function isSecretMissing(problems: readonly Problem[]): boolean {
  return problems.some(({ name, message }) => name === "CLERK_WEBHOOK_SIGNING_SECRET" && message === "is not set");
}

/** `dataDir` for `DATA_DIR`. */
function optionNames(): string[] {
  const camelCase = ({ name }: { name: string }) =>
    name.toLowerCase().replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return ["dev", "inspector", ...settings.map(camelCase)];
}
