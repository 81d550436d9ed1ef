// The public port: the webhook path and /health, and nothing else.
// Verifies a body before parsing it, and answers 200 only after the inbox has flushed the delivery.

import { Elysia } from "elysia";

import { listenError } from "../address.ts";
import type { ReceivedEvent } from "../clerk/events.ts";
import { InboxUnavailable, type RefusalCode } from "../errors.ts";
import type { Accepted, NewDelivery, NewRun } from "../inbox/inbox.ts";
import type { Traces } from "../monitor/traces.ts";
import { answer, answerStored, declaredSize, pathOf } from "./answers.ts";
import { createChangeFinder } from "./changed-body.ts";
import { clientAddress } from "./client-address.ts";
import { deliveryOf, eventTime, parseEvent } from "./event.ts";
import { describeHealth, type HealthDetails } from "./health-details.ts";
import { createRefusedRequests, type RefusedRequest } from "./refused-requests.ts";
import { createUnverifiedBodies, type UnverifiedBodies } from "./unverified.ts";
import { type Key, readSignedHeaders, verifyBody } from "./verify.ts";

export interface WebhookServerOptions {
  host: string;
  /** 0 lets the system choose. */
  port: number;
  webhookPath: string;
  maxBodyBytes: number;
  /** How many proxies in front of this port add their client's address to `X-Forwarded-For`. Default: 0. */
  trustProxy?: number;
  /** Read for each request, since `bun dev` reloads them. */
  secrets: () => readonly Key[];
  /** Stores a delivery; resolves when it is flushed. */
  accept: (delivery: NewDelivery, runs: readonly NewRun[]) => Promise<Accepted>;
  /** Whether deliveries can be stored now. */
  writable: () => boolean;
  /** The details of /health. */
  healthDetails?: () => HealthDetails;
  /** The runs that an event of this type gets now. */
  match: (type: string) => NewRun[];
  onDelivery?: (delivery: ReceivedDelivery) => void;
  onRefused?: (refused: RefusedRequest, count: number) => void;
  onAnswered?: (request: AnsweredRequest) => void;
  onError?: (error: unknown) => void;
  traces?: Pick<Traces, "receive"> | undefined;
  now?: () => number;
  /** Shared with the inspector. */
  unverified?: UnverifiedBodies;
}

export interface ReceivedDelivery {
  delivery: NewDelivery;
  event: ReceivedEvent;
  status: Accepted["status"];
  /** The runs that were or would have been created. */
  runs: readonly NewRun[];
  /** Milliseconds from the request to the answer. */
  took: number;
}

/** A request of any path. */
export interface AnsweredRequest {
  method: string;
  /** Undefined for a path that is not served. */
  route: string | undefined;
  status: number;
  /** Milliseconds from the request to the answer. */
  took: number;
}

export interface WebhookServer {
  port: number;
  /** Recently refused requests, for people. */
  refused(): readonly RefusedRequest[];
  /** The addresses with the most refused requests. */
  addresses(): { address: string; count: number }[];
  /** Accepts no more and resolves when every request in flight is answered. */
  stop(): Promise<void>;
}

// Bun's own limit answers without a reason, so it only catches bodies that the limit below can't see.
const HARD_LIMIT_BYTES = 1_073_741_824;
const IDLE_SECONDS = 10;
// A request that has not arrived by then is an attack or dead. Svix retries it.
const IN_FLIGHT_MS = 3_000;

// A library in a handler may define Object.prototype.then. Each response would then be treated as a promise, and Bun
// would answer 204 with nothing stored.
// oxlint-disable-next-line unicorn/no-thenable -- it makes answers not thenable
Object.defineProperty(Response.prototype, "then", { value: undefined, writable: true, configurable: true });

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

function createReceiver(options: WebhookServerOptions) {
  const { accept, webhookPath, secrets, match, maxBodyBytes, now = Date.now } = options;
  const unverified = options.unverified ?? createUnverifiedBodies(maxBodyBytes);
  const refused = createRefusedRequests((latest, count) => options.onRefused?.(latest, count));
  let stopping = false;
  const findChange = createChangeFinder(secrets);

  async function receive(request: Request): Promise<Response> {
    const start = performance.now();
    const at = now();
    const refuse = (code: RefusalCode, size: number, claimedId: string | null, more: Partial<RefusedRequest> = {}) => {
      refused.add({ code, at, size, claimedId, address: addressOf(request), ...viaProxy(request), ...more });
      return answer(code);
    };
    const claimedId = request.headers.get("svix-id") ?? request.headers.get("webhook-id");
    if (stopping) return refuse("shutting_down", 0, claimedId);

    const signed = readSignedHeaders(request.headers);
    if (!signed.ok) return refuse(signed.code, 0, signed.id);
    const body = await unverified.read(request, maxBodyBytes);
    if (body === "too_large") return refuse("body_too_large", declaredSize(request), claimedId);
    if (body === "dropped") return refuse("body_dropped", declaredSize(request), claimedId);

    const verdict = verifyBody(signed, { body, keys: secrets(), now: Math.floor(at / 1_000) });
    if (!verdict.ok) {
      const { code, skewSeconds } = verdict;
      const change = code === "no_match" ? findChange(signed, body) : undefined;
      return refuse(code, body.length, verdict.id, {
        ...(skewSeconds !== undefined && { skewSeconds }),
        ...(change && { change }),
      });
    }

    const event = parseEvent(body);
    if (!event) return refuse("not_an_event", body.length, verdict.id);

    const { id } = verdict;
    const { headers } = request;
    const delivery = deliveryOf(event, { id, at: eventTime(event, at), receivedAt: at, headers, body });
    const trace = options.traces?.receive(delivery, headers, at);
    if (trace) Object.assign(delivery.headers, trace.headers);
    const runs = match(event.type);
    try {
      const accepted = await accept({ ...delivery, event }, runs);
      trace?.end(accepted.status, runs.length);
      const took = performance.now() - start;
      options.onDelivery?.({ delivery, event, status: accepted.status, runs, took });
      return answerStored(delivery, accepted);
    } catch (error) {
      trace?.fail(error);
      if (!(error instanceof InboxUnavailable)) throw error;
      return refuse("unavailable", body.length, id);
    }
  }

  function addressOf(request: Request): string | undefined {
    return clientAddress(request.headers, app.server?.requestIP(request)?.address, options.trustProxy ?? 0);
  }

  const app = new Elysia({
    // Two servers on one port would each get half of the events, silently.
    serve: {
      reusePort: false,
      // Otherwise Bun answers an uncaught error with a page that shows Bellhop's source.
      development: false,
      maxRequestBodySize: HARD_LIMIT_BYTES,
      idleTimeout: IDLE_SECONDS,
    },
  })
    // Before the routes: a hook covers only later ones, and elsewhere Elysia would answer with the error's message.
    .onError(({ code, error, request, set }) => {
      if (code !== "NOT_FOUND") return failed(error);
      // Elysia would overwrite the 200 with its 404.
      set.status = 200;
      return notRouted(request);
    })
    // `none`: the bytes are read here.
    .post(webhookPath, ({ request }) => answered(request, webhookPath, receive), { parse: "none" })
    .get("/health", ({ request }) => answered(request, "/health", health))
    .head("/health", ({ request }) => answered(request, "/health", health));

  async function answered(
    request: Request,
    route: string | undefined,
    respond: (request: Request) => Response | Promise<Response>,
  ): Promise<Response> {
    const start = performance.now();
    let response: Response;
    try {
      response = await respond(request);
    } catch (error) {
      response = failed(error);
    }
    options.onAnswered?.({ method: request.method, route, status: response.status, took: performance.now() - start });
    return response;
  }

  function failed(error: unknown): Response {
    // The client closed the connection in the middle of its request.
    if (error instanceof Error && error.name === "AbortError") return new Response(null, { status: 400 });
    // Never the error's message: it would go to the client.
    options.onError?.(error);
    return answer("internal");
  }

  function health(): Response {
    if (stopping) return Response.json({ status: "shutting_down" }, { status: 503 });
    const details = options.healthDetails?.();
    return options.writable()
      ? Response.json({ status: "ok", ...details })
      : Response.json({ status: "unavailable", ...details }, { status: 503 });
  }

  /** Requests without a route: other paths, and the webhook's path in other methods and spellings. */
  function notRouted(request: Request): Response | Promise<Response> {
    if (pathOf(request.url) === webhookPath)
      return answered(request, webhookPath, () =>
        request.method === "POST" ? receive(request) : answer("method_not_allowed"),
      );
    return answered(request, undefined, unknownPath);
  }

  function unknownPath(request: Request): Response {
    const claimedId = request.headers.get("svix-id") ?? request.headers.get("webhook-id");
    if (request.method !== "POST" || claimedId === null) return answer("not_found");
    refused.add({
      code: "wrong_path",
      at: now(),
      size: declaredSize(request),
      claimedId,
      address: addressOf(request),
      path: pathOf(request.url),
      rightPath: webhookPath,
      ...viaProxy(request),
    });
    return answer("wrong_path");
  }

  return {
    app,
    failed,
    refused: () => refused.recent(),
    addresses: () => refused.addresses(),
    /** From now on, every delivery is answered 503. */
    refuseNew: () => void (stopping = true),
  };
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

/** Most proxies and tunnels add one of these headers. */
function viaProxy({ headers }: Request): { proxied?: true } {
  return ["x-forwarded-for", "forwarded", "via"].some((name) => headers.has(name)) ? { proxied: true } : {};
}
