// The environment, read once and checked whole: every problem is reported at once, each with an example.
// The only file that reads `process.env`. `readConfig` is pure; no message ever contains a secret.

import { join } from "node:path";

import { type DatabaseUrl, DatabaseUrlError, parseDatabaseUrl } from "./dispatch/database-url.ts";
import { type Key, parseSecrets, SecretError } from "./receive/verify.ts";

export type Mode = "dev" | "start";
export type Environment = Readonly<Record<string, string | undefined>>;

export interface Config {
  mode: Mode;
  /** Any of them may have signed a request. */
  secrets: readonly Key[];
  /** The first characters of the secret in use, enough to compare it with the Dashboard. */
  secretHint: string;
  /** The secret was made by `bun dev`: Clerk does not know it. */
  secretIsOurs: boolean;
  clerkSecretKey: string | undefined;
  clerkApiUrl: string;
  port: number;
  host: string;
  webhookPath: string;
  handlersDir: string;
  dataDir: string;
  /** Where handlers write. */
  database: DatabaseUrl;
  concurrency: number;
  maxBodyBytes: number;
  retentionDays: number;
  shutdownSeconds: number;
  inspector: {
    port: number;
    host: string;
    /** Who shows it may look; undefined: this machine alone. */
    token: string | undefined;
  };
  logLevel: (typeof LOG_LEVELS)[number];
  logFormat: "pretty" | "json";
}

export interface Problem {
  name: string;
  says: string;
  example: string;
}

/** One row of the README's table and of `.env.example`. */
export interface Setting {
  name: string;
  default: string;
  says: string;
}

const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export const settings: readonly Setting[] = [
  {
    name: "CLERK_WEBHOOK_SIGNING_SECRET",
    default: "made by `bun dev`",
    says: "from the Clerk Dashboard: Webhooks, your endpoint, Signing Secret; several with commas while you rotate",
  },
  {
    name: "CLERK_SECRET_KEY",
    default: "none",
    says: "gives handlers `clerk`, the Backend API's client; for `bun backfill` and `bun drift`",
  },
  { name: "CLERK_API_URL", default: "https://api.clerk.com", says: "Clerk's Backend API, or a proxy before it" },
  { name: "PORT", default: "3000", says: "the public door" },
  { name: "HOST", default: "127.0.0.1 in dev, 0.0.0.0 in start", says: "the address that it listens on" },
  { name: "WEBHOOK_PATH", default: "/api/webhooks", says: "the path that Clerk posts to" },
  { name: "HANDLERS_DIR", default: "handlers", says: "the folder of your handler files" },
  { name: "DATA_DIR", default: "data", says: "the folder of the inbox; back it up" },
  { name: "DATABASE_URL", default: "sqlite: + DATA_DIR/app.db", says: "where `db` writes: postgres://… or sqlite:…" },
  { name: "CONCURRENCY", default: "16", says: "runs at a time of one handler" },
  { name: "MAX_BODY_BYTES", default: "1048576", says: "larger requests are refused" },
  { name: "RETENTION_DAYS", default: "90", says: "how long payloads are kept once their runs have ended" },
  { name: "SHUTDOWN_SECONDS", default: "25", says: "how long running handlers may finish" },
  {
    name: "INSPECTOR_PORT",
    default: "3001",
    says: "the inspector, a page that shows what happens; never the public door",
  },
  {
    name: "INSPECTOR_HOST",
    default: "127.0.0.1",
    says: "the address that the inspector listens on; another needs a token",
  },
  {
    name: "INSPECTOR_TOKEN",
    default: "none",
    says: "24 characters or more; opens the inspector to whoever has it, in start too",
  },
  { name: "LOG_LEVEL", default: "info", says: LOG_LEVELS.join(", ") },
  { name: "LOG_FORMAT", default: "pretty in dev, json in start", says: "pretty or json" },
];

// Valid base64, so that it signs like any secret, and readable, so that `bun start` and people can tell it.
const OURS = "BellhopDevOnly00";
// Svix makes secrets of 24 bytes (docs.svix.com); fewer is a cut-off copy or a guessable word.
const MIN_SECRET_BYTES = 24;
// Twelve random bytes in hex: nobody guesses that at ten a minute.
const MIN_TOKEN_LENGTH = 24;
// What only this machine reaches.
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i;

/** A secret for development, marked so that `bun start` refuses it. */
export function makeDevSecret(): string {
  return `whsec_${OURS}${Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString("base64")}`;
}

/** Reads the whole environment; either a config or every problem in it, in the order of `settings`. */
export function readConfig(env: Environment, mode: Mode): { config: Config } | { problems: Problem[] } {
  const problems: Problem[] = [];
  const reader = settingReader(env, problems);
  const secret = readSecret(env, mode, problems);
  const config: Config = {
    mode,
    ...secret,
    clerkSecretKey: readClerkSecretKey(env, problems),
    clerkApiUrl: reader.url("CLERK_API_URL", "https://api.clerk.com"),
    port: reader.integer("PORT", 3000, 0, 65_535),
    host: reader.text("HOST", mode === "dev" ? "127.0.0.1" : "0.0.0.0"),
    webhookPath: reader.path("WEBHOOK_PATH", "/api/webhooks"),
    handlersDir: reader.text("HANDLERS_DIR", "handlers"),
    dataDir: reader.text("DATA_DIR", "data"),
    database: readDatabase(env, reader.text("DATA_DIR", "data"), problems),
    concurrency: reader.integer("CONCURRENCY", 16, 1, 10_000),
    maxBodyBytes: reader.integer("MAX_BODY_BYTES", 1_048_576, 1_024, 1_073_741_824),
    retentionDays: reader.integer("RETENTION_DAYS", 90, 1, 36_500),
    shutdownSeconds: reader.integer("SHUTDOWN_SECONDS", 25, 0, 3_600),
    inspector: readInspector(env, reader, problems),
    logLevel: reader.oneOf("LOG_LEVEL", LOG_LEVELS, "info"),
    logFormat: reader.oneOf("LOG_FORMAT", ["pretty", "json"], mode === "dev" ? "pretty" : "json"),
  };
  return problems.length > 0 ? { problems } : { config };
}

/** The process's own environment, for the one call that starts a command. */
export function processEnvironment(): Environment {
  return process.env;
}

/** The text to print before leaving with exit code 78. */
export function describeProblems(problems: readonly Problem[]): string {
  const rows = problems.map(({ name, says, example }) => `  ${name} ${says}\n\n      ${example}\n`);
  const count = problems.length === 1 ? "one setting needs" : `${problems.length} settings need`;
  return `Bellhop can't start: ${count} a look.\n\n${rows.join("\n")}`;
}

function readSecret(env: Environment, mode: Mode, problems: Problem[]) {
  const name = env.CLERK_WEBHOOK_SIGNING_SECRET?.trim() ? "CLERK_WEBHOOK_SIGNING_SECRET" : "CLERK_WEBHOOK_SECRET";
  const text = env[name]?.trim() ?? "";
  const example = "CLERK_WEBHOOK_SIGNING_SECRET=whsec_…   (Clerk Dashboard, Webhooks, your endpoint, Signing Secret)";
  const refuse = (says: string) => problems.push({ name: text ? name : "CLERK_WEBHOOK_SIGNING_SECRET", says, example });

  let secrets: Key[] = [];
  const secretIsOurs = text.includes(OURS);
  if (text === "") refuse("is not set");
  else if (secretIsOurs && mode === "start")
    refuse("was made by `bun dev`, so Clerk does not know it; `bun start` needs Clerk's own");
  else {
    try {
      secrets = parseSecrets(text);
      const short = secrets.find((key) => key.length < MIN_SECRET_BYTES);
      if (short) refuse(`has only ${short.length} bytes, where Svix's have ${MIN_SECRET_BYTES}; copy it whole`);
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      refuse(error.message);
    }
  }
  const first = text.split(",")[0]?.trim() ?? "";
  return { secrets, secretIsOurs, secretHint: `${first.slice(0, first.startsWith("whsec_") ? 10 : 4)}…` };
}

function readClerkSecretKey(env: Environment, problems: Problem[]): string | undefined {
  const key = env.CLERK_SECRET_KEY?.trim();
  if (!key) return undefined;
  if (!key.startsWith("sk_"))
    problems.push({
      name: "CLERK_SECRET_KEY",
      says: key.startsWith("whsec_")
        ? "is a webhook signing secret; that one belongs into CLERK_WEBHOOK_SIGNING_SECRET"
        : "does not begin with sk_",
      example: "CLERK_SECRET_KEY=sk_test_…   (Clerk Dashboard, API keys)",
    });
  return key;
}

function readDatabase(env: Environment, dataDir: string, problems: Problem[]): DatabaseUrl {
  const own: DatabaseUrl = { kind: "sqlite", filename: join(dataDir, "app.db") };
  const text = env.DATABASE_URL?.trim();
  if (!text) return own;
  try {
    return parseDatabaseUrl(text);
  } catch (error) {
    if (!(error instanceof DatabaseUrlError)) throw error;
    const example = "DATABASE_URL=postgres://user:password@localhost:5432/mydb   (or sqlite:data/app.db)";
    problems.push({ name: "DATABASE_URL", says: error.message, example });
    return own;
  }
}

function readInspector(env: Environment, reader: SettingReader, problems: Problem[]): Config["inspector"] {
  const port = reader.integer("INSPECTOR_PORT", 3001, 0, 65_535);
  const host = reader.text("INSPECTOR_HOST", "127.0.0.1");
  const token = env.INSPECTOR_TOKEN?.trim() || undefined;
  const example = "INSPECTOR_TOKEN=…   (make one: openssl rand -hex 24)";
  if (token === undefined && !LOOPBACK.test(host))
    problems.push({
      name: "INSPECTOR_HOST",
      says: `is ${quote(host)}, where others can reach the inspector: it needs INSPECTOR_TOKEN, or 127.0.0.1`,
      example,
    });
  if (token !== undefined && token.length < MIN_TOKEN_LENGTH)
    problems.push({
      name: "INSPECTOR_TOKEN",
      says: `has only ${token.length} characters, expected ${MIN_TOKEN_LENGTH} or more`,
      example,
    });
  return { port, host, token };
}

/** What was found, without the secret that may have been pasted into the wrong place. */
function quote(found: string): string {
  return JSON.stringify(found.replaceAll(/(whsec_|[sp]k_(?:test|live)_)\S*/g, "$1…").slice(0, 80));
}

type SettingReader = ReturnType<typeof settingReader>;

function settingReader(env: Environment, problems: Problem[]) {
  const text = (name: string, fallback: string) => env[name]?.trim() || fallback;
  return {
    text,
    integer(name: string, fallback: number, min: number, max: number): number {
      const found = text(name, String(fallback));
      const value = Number(found);
      if (/^\d+$/.test(found) && value >= min && value <= max) return value;
      const says = `is ${quote(found)}, expected a whole number from ${min} to ${max}`;
      problems.push({ name, says, example: `${name}=${fallback}` });
      return fallback;
    },
    path(name: string, fallback: string): string {
      const found = text(name, fallback).replace(/(.)\/+$/, "$1");
      if (/^\/[\w\-./~]*$/.test(found) && found !== "/health") return found;
      const says = `is ${quote(found)}, expected a path that begins with / and is not /health`;
      problems.push({ name, says, example: `${name}=${fallback}` });
      return fallback;
    },
    url(name: string, fallback: string): string {
      const found = text(name, fallback).replace(/\/+$/, "");
      if (/^https?:$/.test(URL.parse(found)?.protocol ?? "")) return found;
      problems.push({ name, says: `is ${quote(found)}, expected an address`, example: `${name}=${fallback}` });
      return fallback;
    },
    oneOf<const T extends string>(name: string, choices: readonly T[], fallback: T): T {
      const found = text(name, fallback);
      const choice = choices.find((each) => each === found);
      if (choice) return choice;
      const says = `is ${quote(found)}, expected one of ${choices.join(", ")}`;
      problems.push({ name, says, example: `${name}=${fallback}` });
      return fallback;
    },
  };
}
