// The environment variables: names, defaults and descriptions. config.ts reads and checks them.

import { isTypo } from "./suggest.ts";

/** One entry of docs/configuration.md and of `.env.example`. */
export interface Setting {
  name: string;
  default: string;
  description: string;
}

/** From the most to the least talkative. */
export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

const rows = [
  {
    name: "CLERK_WEBHOOK_SIGNING_SECRET",
    default: "made by `bun dev`",
    description:
      "from the Clerk Dashboard: Webhooks, your endpoint, Signing Secret; several with commas while you rotate",
  },
  {
    name: "CLERK_SECRET_KEY",
    default: "none",
    description: "gives handlers `clerk`, the Backend API's client; for `bun backfill` and `bun drift`",
  },
  {
    name: "CLERK_API_URL",
    default: "https://api.clerk.com",
    description: "Clerk's Backend API, or a proxy in front of it",
  },
  { name: "PORT", default: "3000", description: "the public port" },
  { name: "HOST", default: "127.0.0.1 in dev, 0.0.0.0 in start", description: "the address that it listens on" },
  { name: "WEBHOOK_PATH", default: "/api/webhooks", description: "the path that Clerk posts to" },
  { name: "HANDLERS_DIR", default: "handlers", description: "the folder of your handler files" },
  { name: "DATA_DIR", default: "data", description: "the folder of the inbox; back it up" },
  {
    name: "INBOX_URL",
    default: "SQLite in DATA_DIR",
    description: "postgres://… for the inbox of several servers",
  },
  {
    name: "DATABASE_URL",
    default: "INBOX_URL, or DATA_DIR/app.db",
    description: "where `db` writes: postgres://… or sqlite:…",
  },
  { name: "CONCURRENCY", default: "16", description: "runs at a time of one handler" },
  {
    name: "BREAKER_AFTER",
    default: "20",
    description: "how many runs in a row fail alike before their handler is paused; 0: never",
  },
  {
    name: "BLOCKED_SECONDS",
    default: "60",
    description: "how long a handler may block the thread before `bun start` ends, to be restarted; 0: forever",
  },
  { name: "MAX_BODY_BYTES", default: "1048576", description: "larger requests are refused" },
  {
    name: "TRUST_PROXY",
    default: "0",
    description: "proxies in front that add the client's address to X-Forwarded-For, for logs and counts of refusals",
  },
  { name: "RETENTION_DAYS", default: "90", description: "how long payloads are kept once their runs have ended" },
  {
    name: "DRIFT_EVERY",
    default: "never",
    description: "how often the mirror is compared with Clerk, and differences are reported: 1d",
  },
  {
    name: "ERASE_AFTER",
    default: "never",
    description: "how long after its deletion in Clerk a user is erased here: 30d",
  },
  { name: "SHUTDOWN_SECONDS", default: "25", description: "how long running handlers may finish" },
  {
    name: "INSPECTOR_PORT",
    default: "3001",
    description: "the inspector, a page that shows deliveries and runs; never the public port",
  },
  {
    name: "INSPECTOR_HOST",
    default: "127.0.0.1",
    description: "the address that the inspector listens on; another needs a token",
  },
  {
    name: "INSPECTOR_TOKEN",
    default: "made by `bun dev`",
    description: "24 characters or more; opens the inspector to anyone who has it, in start too",
  },
  { name: "METRICS_PORT", default: "none", description: "serves /metrics for Prometheus, without a token" },
  { name: "SILENCE_AFTER", default: "learned", description: "reports when no delivery came for so long: 6h, or off" },
  { name: "HEARTBEAT_URL", default: "none", description: "pinged every minute while all is well (healthchecks.io)" },
  { name: "ALERT_URLS", default: "none", description: "who gets alerts: Slack, Discord, https://…, smtps://…" },
  { name: "ALERT_SECRET", default: "none", description: "whsec_…, which signs the alerts to a webhook of yours" },
  { name: "MCP_WRITE", default: "0", description: "1 lets coding agents send samples, try handlers and replay" },
  { name: "LOG_LEVEL", default: "info", description: LOG_LEVELS.join(", ") },
  { name: "LOG_FORMAT", default: "pretty in dev, json in start", description: "pretty or json" },
] as const satisfies readonly Setting[];

export type SettingName = (typeof rows)[number]["name"];

export const settings: readonly Setting[] = rows;

/** Variables that are nearly named like a setting that is not set, as `WEBHOOK_PAHT`, with a sentence about each. */
export function misspelledSettings(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = [...settings.map(({ name }) => name), "CLERK_WEBHOOK_SECRET"];
  // PORT and HOST are too short: another program's variable may differ in one letter.
  const unset = known.filter((name) => name.includes("_") && env[name] === undefined);
  return Object.keys(env)
    .filter((name) => !known.includes(name))
    .flatMap((name) => {
      const meant = unset.find((setting) => isTypo(name, setting));
      return meant === undefined ? [] : [`${name} is not a setting of Bellhop, and is ignored; did you mean ${meant}?`];
    });
}
