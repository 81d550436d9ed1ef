// The first output of `bun dev`: the webhook endpoint, the secret in use, the handlers, and a next step.

import { localUrlOf } from "../address.ts";
import { eventNames } from "../clerk/events.ts";
import { COMMAND } from "../command.ts";
import type { Config } from "../config.ts";
import { describeDatabase } from "../db/url.ts";
import type { HandlerTable } from "../handlers/loader.ts";
import { printable } from "../printable.ts";

// A screenful.
const MAX_HANDLERS_SHOWN = 12;

export function banner(config: Config, port: number, table: HandlerTable, inspectorLink?: string): string {
  const secret = config.isDevSecret
    ? `${config.secretHint} made by ${COMMAND} dev; paste Clerk's into .env, and it is used at once`
    : config.secretHint;
  return [
    "",
    `  Bellhop listens on ${localUrl(config, port)}`,
    "",
    `  Secret     ${secret}`,
    `  Database   ${config.database.kind === "sqlite" ? "SQLite" : "Postgres"}, ${describeDatabase(config.database)}`,
    ...handlerRows(table, config.handlersDir),
    ...(inspectorLink ? [`  Inspector  ${inspectorLink}`] : []),
    `  Try it     ${COMMAND} send ${exampleEvent(table)}`,
    "",
  ].join("\n");
}

/** The URL to enter at Clerk, or how to get one. */
export function describeAddress(port: number, publicUrl: string | undefined): string {
  if (publicUrl) return `  Give Clerk this address (Dashboard, Webhooks, Add Endpoint):\n\n      ${publicUrl}\n`;
  return [
    "  Clerk can't reach this machine yet. For a public address, either of:\n",
    `      ${COMMAND} dev --tunnel`.padEnd(30) + "through Svix's public relay, without an account",
    `      ngrok http ${port}`.padEnd(30) + "in another terminal\n",
  ].join("\n");
}

/** The webhook endpoint, as this machine reaches it. */
export function localUrl({ host, webhookPath }: Pick<Config, "host" | "webhookPath">, port: number): string {
  return `${localUrlOf(host, port)}${webhookPath}`;
}

function handlerRows({ handlers }: HandlerTable, dir: string): string[] {
  if (handlers.length === 0) return [`  Handlers   none in ${dir}/ yet; write one with: ${COMMAND} new user.created`];
  // A long list would scroll the address away. Handlers that do not load are listed first.
  const sorted = handlers.toSorted((a, b) => Number(b.error !== undefined) - Number(a.error !== undefined));
  const shown = handlers.length > MAX_HANDLERS_SHOWN ? sorted.slice(0, MAX_HANDLERS_SHOWN - 1) : handlers;
  const rows = shown.map(
    ({ file, error }) =>
      `${error ? "✗" : "✓"} ${dir}/${file}${error ? `   not loaded: ${printable(error.message.split("\n", 1).join(""))}` : ""}`,
  );
  const rest = handlers.length - shown.length;
  if (rest > 0) rows.push(`  and ${rest} more; to list them: ${COMMAND} handlers`);
  return rows.map((row, index) => `  ${index === 0 ? "Handlers " : "         "}  ${row}`);
}

function exampleEvent({ handlers }: HandlerTable): string {
  const known: readonly string[] = eventNames;
  return handlers.find(({ event, code }) => code && known.includes(event))?.event ?? "user.created";
}
