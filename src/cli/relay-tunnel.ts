// `bun dev --tunnel`: a public address through Svix's relay, the same after a restart. Requests are passed to the webhook
// endpoint over HTTP, so the public port alone decides about them.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { messageOf } from "../errors.ts";
import { isObject } from "../json.ts";
import { isToken, RELAY_URL, type RelayRequest } from "./relay-frames.ts";
import { type Clock, openRelay, type Relay, type RelayStatus } from "./relay.ts";
import { writePrivately } from "./write-privately.ts";

export interface TunnelOptions {
  dataDir: string;
  /** The webhook endpoint, as this machine reaches it. */
  webhookUrl: string;
  /** The public address, complete, whenever it is new. */
  onAddress: (url: string) => void;
  info: (line: string) => void;
  warn: (line: string) => void;
  relayUrl?: string;
  clock?: Clock;
}

const FILE = "tunnel.json";
// As the relay's own clients wait for the local server.
const LOCAL_MS = 30_000;

export function openTunnel(options: TunnelOptions): Relay {
  const { dataDir, webhookUrl, onAddress, info, warn, relayUrl = RELAY_URL, clock } = options;
  const file = join(dataDir, FILE);
  let shown: string | undefined;
  let stored = readToken(file, warn);

  function report(status: RelayStatus) {
    if (status.kind === "disconnected")
      return warn(
        shown
          ? `the tunnel has lost Svix's relay (${status.reason}); connecting again. Svix retries what can't be delivered`
          : `the tunnel can't reach Svix's relay (${status.reason}); trying again. ngrok works without it`,
      );
    if (status.kind === "in-use")
      return warn(
        `the tunnel's address ${status.url} is in use by another connection: an earlier one of this server, which ends ` +
          `within a minute, or a copy of ${file}. Waiting for it for up to ${status.waitMs / 1_000} s`,
      );
    const { url, token, lostUrl } = status;
    if (token !== stored) store(token);
    if (lostUrl)
      warn(`the tunnel's address ${lostUrl} is lost: another client holds it. Replace it in the Dashboard by ${url}`);
    if (url === shown) return info("the tunnel is connected again, with the same address");
    shown = url;
    onAddress(url);
  }

  function store(token: string) {
    stored = token;
    try {
      writePrivately(file, `${JSON.stringify({ token })}\n`);
    } catch (error) {
      warn(`${file} can't be written (${messageOf(error)}): the tunnel will have another address after a restart`);
    }
  }

  return openRelay({
    url: relayUrl,
    token: stored,
    answer: (request) => passOn(webhookUrl, request),
    onStatus: report,
    ...(clock && { clock }),
  });
}

function passOn(webhookUrl: string, { method, headers, body }: RelayRequest): Promise<Response> {
  const hasBody = method !== "GET" && method !== "HEAD";
  return fetch(webhookUrl, {
    method,
    headers,
    ...(hasBody && { body }),
    redirect: "manual",
    signal: AbortSignal.timeout(LOCAL_MS),
    // HTTP_PROXY does not reach this machine's loopback address. Bun's types lack `proxy: false`.
    proxy: false as unknown as string,
  });
}

function readToken(file: string, warn: (line: string) => void): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  try {
    const found: unknown = JSON.parse(text);
    if (isObject(found) && isToken(found["token"])) return found["token"];
  } catch {
    // Reported below.
  }
  warn(`${file} does not contain a token, so the tunnel gets a new address: replace it in the Dashboard`);
  return undefined;
}
