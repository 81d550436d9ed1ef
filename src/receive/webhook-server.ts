// Opens the webhook path: on a port of its own, or in an application that has one.

import { listenError } from "../address.ts";
import { InboxUnavailable } from "../errors.ts";
import { describeHealth } from "./health-details.ts";
import { createReceiver, type WebhookServer, type WebhookServerOptions } from "./server.ts";

// A request that has not arrived by then is an attack or dead. Svix retries it.
const IN_FLIGHT_MS = 3_000;

/** Opens the webhook path: on a port, or in an application. */
export type OpenWebhookServer = (options: WebhookServerOptions) => WebhookServer;

export type Fetch = (request: Request) => Promise<Response>;

/** Starts to listen. Throws a `UserError` with a remedy when it can't. */
export function startWebhookServer(options: WebhookServerOptions): WebhookServer {
  const { app, refused, addresses, refuseNew } = createReceiver(options);
  try {
    app.listen({ port: options.port, hostname: options.host });
  } catch (error) {
    const settings = { port: ["PORT", 3000], host: "HOST=0.0.0.0" } as const;
    throw listenError(error, { ...options, settings });
  }
  const server = app.server;
  if (!server) throw new Error("the public port did not open");
  return {
    port: server.port ?? options.port,
    refused,
    addresses,
    async stop() {
      // The port stays open to answer 503 to new requests.
      refuseNew();
      await untilIdle(() => server.pendingRequests);
      // Only incomplete requests and idle connections are left.
      await server.stop(true);
    },
  };
}

/**
 * Opens no port: an application has one, `options.port`, and passes requests to the function that `onFetch` receives. A
 * later one replaces it.
 */
export function mountWebhookServer(onFetch: (fetch: Fetch) => void): OpenWebhookServer {
  return (options) => {
    const { app, refused, addresses, refuseNew, failed } = createReceiver(options);
    let inFlight = 0;
    onFetch(async (request) => {
      if (request.bodyUsed)
        return failed(new Error("the body was read before Bellhop received the request, so it can't be verified"));
      inFlight += 1;
      try {
        return await app.fetch(request);
      } finally {
        inFlight -= 1;
      }
    });
    return {
      port: options.port,
      refused,
      addresses,
      async stop() {
        refuseNew();
        await untilIdle(() => inFlight);
      },
    };
  };
}

async function untilIdle(inFlight: () => number) {
  const until = performance.now() + IN_FLIGHT_MS;
  while (inFlight() > 0 && performance.now() < until) await Bun.sleep(10);
}

/** Answers every delivery with 503, while the server that is starting waits for its inbox. */
export function refuseAll(
  options: Pick<WebhookServerOptions, "host" | "port" | "webhookPath" | "maxBodyBytes" | "secrets">,
  open: OpenWebhookServer,
): () => Promise<void> {
  const reason = new Error("Postgres does not answer");
  const server = open({
    ...options,
    match: () => [],
    accept: () => Promise.reject(new InboxUnavailable(reason)),
    writable: () => false,
    healthDetails: () => describeHealth({ inbox: reason }),
  });
  return () => server.stop();
}
