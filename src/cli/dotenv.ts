// `.env` during development: created when there is no signing secret, and read again when it changes.

import { existsSync, readFileSync, unwatchFile, watchFile } from "node:fs";
import { resolve } from "node:path";
import { parseEnv } from "node:util";

import { COMMAND } from "../command.ts";
import { type Config, type Environment, makeDevSecret, processEnvironment, readConfig } from "../config.ts";
import { messageOf, UserError } from "../errors.ts";
import { settings } from "../settings.ts";
import { writePrivately } from "./write-privately.ts";

const NAME = "CLERK_WEBHOOK_SIGNING_SECRET";
// The secret may be set under either name.
const SECRETS = [NAME, "CLERK_WEBHOOK_SECRET"];
const WATCH_MS = 250;

/** Generates a secret and writes it to `.env` when the environment has none. Returns the variables to add. */
export function ensureDevSecret(env: Environment, file = ".env", template = ".env.example"): Environment {
  if (env[NAME]?.trim() || env.CLERK_WEBHOOK_SECRET?.trim()) return {};
  const secret = makeDevSecret();
  try {
    writeDevSecret(secret, file, template);
  } catch (error) {
    throw new UserError(
      `No signing secret is set, and ${COMMAND} dev can't write one to ${resolve(file)}: ${messageOf(error)}.\n\n` +
        `    Let this user read and write the file, or set ${NAME} in the shell.`,
    );
  }
  return { [NAME]: secret };
}

function writeDevSecret(secret: string, file: string, template: string) {
  const text = existsSync(file) ? read(file) : read(template);
  const note = `# Made by \`${COMMAND} dev\`. Replace it with Clerk's: Dashboard, Webhooks, your endpoint, Signing Secret.`;
  const row = `${note}\n${NAME}=${secret}`;
  const blank = new RegExp(`^${NAME}=[ \t]*$`, "m");
  // A function, since `$` has a meaning in a replacement text.
  const filled = blank.test(text)
    ? text.replace(blank, () => row)
    : `${text}${text && !text.endsWith("\n") ? "\n" : ""}${row}\n`;
  writePrivately(file, filled);
}

interface EnvWatcher {
  /** Called with a new, valid secret. */
  onConfig: (config: Config) => void;
  /** Called when a change has no effect, with the reason. */
  onNote: (note: string) => void;
}

/** Watches `.env`. Variables of the shell take precedence, as at the start. Returns a function that stops watching. */
export function watchEnvFile(env: Environment, { onConfig, onNote }: EnvWatcher, file = ".env"): () => void {
  // A handler may change the directory of the process.
  const path = resolve(file);
  let before = parse(path);
  /** A new secret that is not in use yet, because another setting in the file is invalid. */
  let isPending = false;
  const fixed = new Set(Object.keys(env).filter((name) => env[name] !== before[name]));

  const changed = () => {
    const now = parse(path);
    const all = new Set([...settings.map(({ name }) => name), ...SECRETS]);
    const names = [...all].filter((name) => now[name] !== before[name]);
    before = now;
    for (const name of names) {
      if (fixed.has(name))
        onNote(`${name} has changed in ${file}, but the shell or another .env file sets it too and takes precedence`);
      else if (!SECRETS.includes(name)) onNote(`${name} has changed in ${file}: restart to use it`);
    }
    isPending ||= names.some((name) => SECRETS.includes(name) && !fixed.has(name));
    if (!isPending || names.length === 0) return;
    const merged = { ...now, ...Object.fromEntries([...fixed].map((name) => [name, env[name]])) };
    const read = readConfig(merged, "dev");
    isPending = "problems" in read;
    if ("config" in read) onConfig(read.config);
    else
      for (const { name, message, example } of read.problems)
        onNote(`${file}: ${name} ${message}; write it like ${example}`);
  };
  watchFile(path, { interval: WATCH_MS }, changed);
  return () => unwatchFile(path, changed);
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

/** The variables of the file as Bun reads them at a start. */
function parse(file: string): Environment {
  const text = read(file);
  const plain: Environment = parseEnv(text);
  return text.includes("$") ? expand(file, plain) : plain;
}

/** Bun expands `$NAME` and `${NAME}` by its own rules: run another Bun rather than reimplement them. */
function expand(file: string, plain: Environment): Environment {
  // Without the file's own names, which Bun has put into this environment already.
  const env = Object.fromEntries(Object.entries(processEnvironment()).filter(([name]) => !(name in plain)));
  const print = "process.stdout.write(JSON.stringify(Bun.env))";
  // The executable that `bun run build` makes is Bun, too, but behaves like it only with this variable.
  const { stdout, success } = Bun.spawnSync([process.execPath, `--env-file=${resolve(file)}`, "-e", print], {
    env: { ...env, BUN_BE_BUN: "1" },
  });
  if (!success) return plain;
  const all = JSON.parse(stdout.toString()) as Environment;
  return Object.fromEntries(Object.keys(plain).map((name) => [name, all[name] ?? plain[name]]));
}
