// A tunnel to a stand-in relay, and a gate in front of a server.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { openTunnel, type TunnelOptions } from "../../src/cli/relay-tunnel.ts";
import { type TestServer, until } from "../harness.ts";
import type { StandInRelay } from "./stand-in-relay.ts";

/** A tunnel with the addresses and lines that it has printed. */
export function tunnelTo(dataDir: string, relay: Pick<StandInRelay, "url">, more: Partial<TunnelOptions> = {}) {
  const addresses: string[] = [];
  const lines: string[] = [];
  const tunnel = openTunnel({
    dataDir,
    webhookUrl: "http://127.0.0.1:1/api/webhooks",
    onAddress: (url) => addresses.push(url),
    info: (line) => lines.push(line),
    warn: (line) => lines.push(`warning: ${line}`),
    relayUrl: relay.url,
    ...more,
  });
  return {
    addresses,
    lines,
    stop: (graceMs = 1_000) => tunnel.stop(graceMs),
    address: (count = 1) => until("an address", () => addresses[count - 1]),
    [Symbol.asyncDispose]: () => tunnel.stop(0),
  };
}

export const tokenOf = (address: string) =>
  /^https:\/\/play\.svix\.com\/in\/(c_[0-9A-Za-z]{10})\/$/.exec(address)?.[1] ?? "";
export const tokenIn = (dataDir: string) =>
  (JSON.parse(readFileSync(join(dataDir, "tunnel.json"), "utf8")) as { token: string }).token;

/** An endpoint that passes requests to a server, and holds back its answers until `open` is called. */
export function gateTo(server: TestServer) {
  const { promise, resolve } = Promise.withResolvers<void>();
  let stored = 0;
  const gate = Bun.serve({
    port: 0,
    async fetch(request) {
      const body = await request.arrayBuffer();
      const answer = await fetch(server.url, { method: request.method, headers: request.headers, body });
      stored += 1;
      await promise;
      return answer;
    },
  });
  return { url: gate.url.href, stored: () => stored, open: resolve, [Symbol.asyncDispose]: () => gate.stop(true) };
}
