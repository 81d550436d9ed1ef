// What `bun dev` says first: the address for Clerk, the secret in use, the handlers, and what to do next.

import { eventNames } from "../clerk/events.ts";
import type { Config } from "../config.ts";
import type { HandlerTable } from "../handlers/loader.ts";

export function banner(config: Config, port: number, table: HandlerTable, inspectorUrl?: string): string {
  const secret = config.secretIsOurs
    ? `${config.secretHint} made by bun dev; paste Clerk's own into .env, and it is used at once`
    : config.secretHint;
  return [
    "",
    `  Bellhop listens on ${localUrl(config, port)}`,
    "",
    `  Secret     ${secret}`,
    ...handlerRows(table, config.handlersDir),
    ...(inspectorUrl ? [`  Inspector  ${inspectorUrl}`] : []),
    `  Try it     bun send ${exampleEvent(table)}`,
    "",
  ].join("\n");
}

/** Where Clerk can reach us: the tunnel's public address, or how to get one. */
export function describeAddress(config: Config, port: number, tunnel: string | undefined): string {
  if (tunnel)
    return `  Give Clerk this address (Dashboard, Webhooks, Add Endpoint):\n\n      ${tunnel}${config.webhookPath}\n`;
  return [
    "  Clerk can't reach this machine yet. In another terminal, either of:\n",
    `      ngrok http ${port}`,
    `      clerk webhooks listen --forward-to ${localUrl(config, port)}\n`,
  ].join("\n");
}

export function localUrl({ host, webhookPath }: Pick<Config, "host" | "webhookPath">, port: number): string {
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}${webhookPath}`;
}

function handlerRows({ handlers }: HandlerTable, dir: string): string[] {
  if (handlers.length === 0) return [`  Handlers   none in ${dir}/ yet; write one with: bun new user.created`];
  return handlers.map(({ file, error }, index) => {
    const title = index === 0 ? "Handlers " : "         ";
    return `  ${title}  ${error ? "✗" : "✓"} ${dir}/${file}${error ? `   not loaded: ${error.message.split("\n")[0]}` : ""}`;
  });
}

function exampleEvent({ handlers }: HandlerTable): string {
  const known: readonly string[] = eventNames;
  return handlers.find(({ event, code }) => code && known.includes(event))?.event ?? "user.created";
}
