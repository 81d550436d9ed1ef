// A webhook server without the rest of Bellhop, an event, and the log lines of a complete server.

import type { RefusedRequest } from "../../src/receive/refused-requests.ts";
import type { WebhookServerOptions } from "../../src/receive/server.ts";
import { parseSecrets } from "../../src/receive/verify.ts";
import { startWebhookServer } from "../../src/receive/webhook-server.ts";
import { SECRET, type TestServer } from "../harness.ts";

export const EVENT = JSON.stringify({ type: "user.created", object: "event", data: { id: "user_1" } });

/** A webhook server with a stand-in for the inbox, for what a real inbox only does when its disk is full. */
export function webhookServerWith(
  inbox: { accept?: WebhookServerOptions["accept"]; readonly writable?: boolean },
  more: Partial<WebhookServerOptions> = {},
) {
  const errors: unknown[] = [];
  const refused: { refused: RefusedRequest; count: number }[] = [];
  const server = startWebhookServer({
    host: "127.0.0.1",
    port: 0,
    webhookPath: "/api/webhooks",
    maxBodyBytes: 1_048_576,
    secrets: () => parseSecrets(SECRET),
    accept: inbox.accept ?? (async () => ({ status: "accepted" })),
    writable: () => inbox.writable ?? true,
    match: () => [],
    onError: (error) => errors.push(error),
    onRefused: (latest, count) => refused.push({ refused: latest, count }),
    ...more,
  });
  const origin = `http://127.0.0.1:${server.port}`;
  return {
    ...server,
    origin,
    url: `${origin}/api/webhooks`,
    errors,
    refused,
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/** Log lines about refusals with a code. */
export const linesOf = (server: TestServer, code: string) => server.lines.filter((line) => line["code"] === code);

/** Log lines about stored deliveries and duplicates. */
export const storedLines = (server: TestServer) =>
  server.lines.filter(({ msg }) => /stored|is a duplicate/.test(String(msg)));
