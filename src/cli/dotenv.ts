// `.env` while you develop: made when there is no secret, and read again when it changes.

import { existsSync, readFileSync, unwatchFile, watchFile, writeFileSync } from "node:fs";
import { parseEnv } from "node:util";

import { type Config, type Environment, makeDevSecret, readConfig, settings } from "../config.ts";

const NAME = "CLERK_WEBHOOK_SIGNING_SECRET";
// Under either name.
const SECRETS = [NAME, "CLERK_WEBHOOK_SECRET"];
const WATCH_MS = 250;

/** Makes a secret and writes it into `.env` when the environment has none. Returns what is to be added to it. */
export function ensureDevSecret(env: Environment, file = ".env", template = ".env.example"): Environment {
  if (env[NAME]?.trim() || env.CLERK_WEBHOOK_SECRET?.trim()) return {};
  const secret = makeDevSecret();
  const text = existsSync(file) ? read(file) : read(template);
  const note = "# Made by `bun dev`. Put Clerk's own here: Dashboard, Webhooks, your endpoint, Signing Secret.";
  const row = `${note}\n${NAME}=${secret}`;
  const blank = new RegExp(`^${NAME}=[ \t]*$`, "m");
  writeFileSync(
    file,
    blank.test(text) ? text.replace(blank, row) : `${text}${text && !text.endsWith("\n") ? "\n" : ""}${row}\n`,
    { mode: 0o600 },
  );
  return { [NAME]: secret };
}

interface EnvWatcher {
  /** The file gives another, valid secret. */
  onConfig: (config: Config) => void;
  /** Something in the file that has no effect, and why. */
  onNote: (note: string) => void;
}

/** Watches `.env`. What the shell says wins over the file, as it does at the start. Returns what ends it. */
export function watchEnvFile(env: Environment, { onConfig, onNote }: EnvWatcher, file = ".env"): () => void {
  let before = parse(file);
  /** A secret that could not be taken yet: another setting in the file is wrong. */
  let waits = false;
  const fixed = new Set(Object.keys(env).filter((name) => env[name] !== before[name]));

  const changed = () => {
    const now = parse(file);
    const all = new Set([...settings.map(({ name }) => name), ...SECRETS]);
    const names = [...all].filter((name) => now[name] !== before[name]);
    before = now;
    for (const name of names) {
      if (fixed.has(name))
        onNote(`${name} has changed in ${file}, but the shell or another .env file sets it too, and that wins`);
      else if (!SECRETS.includes(name)) onNote(`${name} has changed in ${file}: start again to use it`);
    }
    waits ||= names.some((name) => SECRETS.includes(name) && !fixed.has(name));
    if (!waits || names.length === 0) return;
    const merged = { ...now, ...Object.fromEntries([...fixed].map((name) => [name, env[name]])) };
    const read = readConfig(merged, "dev");
    waits = "problems" in read;
    if ("config" in read) onConfig(read.config);
    else
      for (const { name, says, example } of read.problems) onNote(`${file}: ${name} ${says}; write it like ${example}`);
  };
  watchFile(file, { interval: WATCH_MS }, changed);
  return () => unwatchFile(file, changed);
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

function parse(file: string): Environment {
  return parseEnv(read(file));
}
