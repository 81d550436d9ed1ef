// The public door: the webhook path and /health, and nothing else.
// It reads bytes, verifies them, and only then parses; it answers 200 only for what the inbox has flushed.

import { Elysia } from "elysia";

import type { ReceivedEvent } from "../clerk/events.ts";
import { InboxUnavailable, type RefusalCode, UserError } from "../errors.ts";
import type { Accepted, Inbox, NewDelivery, NewRun } from "../inbox/inbox.ts";
import { answer, answerStored } from "./answers.ts";
import { readBody } from "./body.ts";
import { deliveryOf, parseEvent } from "./delivery.ts";
import { createRefusals, type RefusedRequest } from "./refusals.ts";
import { type Key, verify } from "./verify.ts";

export interface ReceiverOptions {
  host: string;
  /** 0 lets the system choose. */
  port: number;
  webhookPath: string;
  maxBodyBytes: number;
  /** Asked for each request: `bun dev` re-reads them. */
  secrets: () => readonly Key[];
  inbox: Pick<Inbox, "writable"> & {
    /** `event` is what the body says: whoever takes it may change it. */
    accept(delivery: NewDelivery, runs: readonly NewRun[], event: ReceivedEvent): Promise<Accepted>;
  };
  /** The runs that an event of this type gets now. */
  match: (type: string) => NewRun[];
  /** An event's time in milliseconds; `receivedAt` is when it came. */
  eventTime: (event: ReceivedEvent, receivedAt: number) => number;
  onDelivery?: (delivery: ReceivedDelivery) => void;
  onRefused?: (refused: RefusedRequest, count: number) => void;
  onError?: (error: unknown) => void;
  now?: () => number;
}

export interface ReceivedDelivery {
  delivery: NewDelivery;
  event: ReceivedEvent;
  status: Accepted["status"];
  /** The runs that it got, or would have got. */
  runs: readonly NewRun[];
  /** Milliseconds from the request to the answer. */
  took: number;
}

export interface Receiver {
  port: number;
  /** What was refused lately, for people. */
  refused(): readonly RefusedRequest[];
  /** Accepts no more and resolves when every request in flight is answered. */
  stop(): Promise<void>;
}

// Bun's own limit, which answers without a word, is only for what ours can't see.
const HARD_LIMIT_BYTES = 1_073_741_824;
const IDLE_SECONDS = 10;
// A request that is not here after so long is slow on purpose, or dead: Svix sends it again.
const IN_FLIGHT_MS = 3_000;
/** Starts to listen. Throws a `UserError` that says what to do when it can't. */
export function startReceiver(options: ReceiverOptions): Receiver {
  const { inbox, webhookPath, secrets, match, eventTime, maxBodyBytes, now = Date.now } = options;
  const refused = createRefusals((latest, count) => options.onRefused?.(latest, count));
  let stopping = false;

  async function receive(request: Request): Promise<Response> {
    const began = performance.now();
    const at = now();
    const refuse = (code: RefusalCode, size: number, claimedId: string | null, skewSeconds?: number) => {
      refused.add({ code, at, size, claimedId, ...(skewSeconds !== undefined && { skewSeconds }) });
      return answer(code);
    };
    const claimedId = request.headers.get("svix-id") ?? request.headers.get("webhook-id");
    if (stopping) return refuse("shutting_down", 0, claimedId);

    const body = await readBody(request, maxBodyBytes);
    if (body === null)
      return refuse("body_too_large", Number(request.headers.get("content-length") ?? maxBodyBytes), claimedId);

    const verdict = verify({ headers: request.headers, body, keys: secrets(), now: Math.floor(at / 1_000) });
    if (!verdict.ok) return refuse(verdict.code, body.length, verdict.id, verdict.skewSeconds);

    const event = parseEvent(body);
    if (!event) return refuse("not_an_event", body.length, verdict.id);

    const { id } = verdict;
    const { headers } = request;
    const delivery = deliveryOf(event, { id, at: eventTime(event, at), receivedAt: at, headers, body });
    const runs = match(event.type);
    try {
      const accepted = await inbox.accept(delivery, runs, event);
      const took = performance.now() - began;
      options.onDelivery?.({ delivery, event, status: accepted.status, runs, took });
      return answerStored(id, accepted);
    } catch (error) {
      if (!(error instanceof InboxUnavailable)) throw error;
      return refuse("unavailable", body.length, id);
    }
  }

  const app = new Elysia({
    // Two servers on one port would each get half of the events, silently.
    serve: {
      reusePort: false,
      // Otherwise Bun answers what nobody caught with a page that shows our source.
      development: false,
      maxRequestBodySize: HARD_LIMIT_BYTES,
      idleTimeout: IDLE_SECONDS,
    },
  })
    // First of all: a hook covers only the routes after it, and elsewhere Elysia would answer with the error's message.
    .onError(({ code, error, request, set }) => {
      if (code !== "NOT_FOUND") return failed(error);
      // Elysia would put its 404 over our 200.
      set.status = 200;
      return elsewhere(request);
    })
    // `none`: the bytes are ours to read.
    .post(webhookPath, ({ request }) => receive(request), { parse: "none" })
    .get("/health", () => health())
    .head("/health", () => health());

  function failed(error: unknown): Response {
    // The client went away in the middle of its request: there is nobody to answer.
    if (error instanceof Error && error.name === "AbortError") return new Response(null, { status: 400 });
    // Never the error itself: it would go to whoever sent the request.
    options.onError?.(error);
    return answer("internal");
  }

  function health(): Response {
    if (stopping) return Response.json({ status: "shutting_down" }, { status: 503 });
    return inbox.writable ? Response.json({ status: "ok" }) : Response.json({ status: "unavailable" }, { status: 503 });
  }

  /** What Elysia finds no route for: everything that is not ours, and the webhook's path in other methods and spellings. */
  function elsewhere(request: Request): Response | Promise<Response> {
    if (pathOf(request.url) === webhookPath)
      return request.method === "POST" ? receive(request).catch(failed) : answer("method_not_allowed");
    const claimedId = request.headers.get("svix-id") ?? request.headers.get("webhook-id");
    if (request.method !== "POST" || claimedId === null) return answer("not_found");
    const size = Number(request.headers.get("content-length") ?? 0);
    refused.add({ code: "wrong_path", at: now(), size, claimedId, rightPath: webhookPath });
    return answer("wrong_path");
  }

  try {
    app.listen({ port: options.port, hostname: options.host });
  } catch (error) {
    throw explained(error, options);
  }
  const server = app.server;
  if (!server) throw new Error("the public port did not open");
  return {
    port: server.port ?? options.port,
    refused: () => refused.recent(),
    async stop() {
      // Answers 503 from now on; the port stays open so that it can.
      stopping = true;
      const until = performance.now() + IN_FLIGHT_MS;
      while (server.pendingRequests > 0 && performance.now() < until) await Bun.sleep(10);
      // What is left is half a request, or a connection that waits for its next one.
      await server.stop(true);
    },
  };
}

/** Why it can't listen, with what to do about it; any other error as it is. */
function explained(error: unknown, { host, port }: ReceiverOptions): unknown {
  const noAddress = `This machine has no address ${host}.\n\n    For all that it has: HOST=0.0.0.0`;
  const reasons: Record<string, string> = {
    EADDRINUSE:
      `Port ${port} is taken, perhaps by another Bellhop server.\n\n` +
      `    Stop that one, or pick another port: PORT=${port === 3000 ? 3100 : 3000}`,
    EACCES: `Port ${port} needs more rights than this user has, as all below 1024 do.\n\n    PORT=3000`,
    EADDRNOTAVAIL: noAddress,
    ENOENT: noAddress,
  };
  const reason = reasons[String((error as { code?: unknown }).code)];
  return reason ? new UserError(reason) : error;
}

/**
 * The path of a URL, without a slash at its end. By hand, since a request without a Host header has no URL to parse,
 * and Elysia looks for the path from the eleventh character on: `http://api/` is shorter.
 */
function pathOf(url: string): string {
  return url
    .replace(/^\w+:\/\/[^/?#]*/, "")
    .replace(/[?#].*$/s, "")
    .replace(/(.)\/$/, "$1");
}
