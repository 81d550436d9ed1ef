// The answers to deliveries: the 200, and the refusals of errors.ts. Never contains anything that a client sent.

import { COMMAND } from "../command.ts";
import { type RefusalCode, refusals } from "../errors.ts";
import type { Accepted, NewDelivery } from "../inbox/inbox.ts";

/**
 * The path of a URL, without a trailing slash. Not with `URL`, because a request without a Host header has no absolute
 * URL, and Elysia searches for the path from the eleventh character on: `http://api/` is shorter.
 */
export function pathOf(url: string): string {
  return url
    .replace(/^\w+:\/\/[^/?#]*/, "")
    .replace(/[?#].*$/s, "")
    .replace(/(.)\/$/, "$1");
}

export function declaredSize({ headers }: Request): number {
  return Number(headers.get("content-length") ?? 0);
}

// For load balancers and people. Svix has its own schedule.
const RETRY_AFTER_SECONDS = "30";

/** The answer to a refused request, from the table in errors.ts. */
export function answer(code: RefusalCode): Response {
  const { status, message } = refusals[code];
  if (status === 405) return new Response(`${message}\n`, { status, headers: { allow: "POST" } });
  if (status === 503)
    return Response.json({ error: code }, { status, headers: { "retry-after": RETRY_AFTER_SECONDS } });
  // Do not wait for the rest of the body.
  if (status === 413 || status === 408)
    return Response.json({ error: code }, { status, headers: { connection: "close" } });
  return Response.json({ error: code }, { status });
}

/** The 200. Svix shows it after "Resend", so for a duplicate it contains the command for a replay. */
export function answerStored({ id, sensitive }: Pick<NewDelivery, "id" | "sensitive">, accepted: Accepted): Response {
  if (accepted.status === "accepted") return Response.json({ id, status: accepted.status });
  const runs = Object.fromEntries(accepted.runs.map(({ handler, state }) => [handler, state]));
  // Its payload is deleted with its runs.
  const how = sensitive ? "" : ` To run it again: ${COMMAND} replay ${id}`;
  return Response.json({ id, status: accepted.status, runs, replay: `It is stored and was not run again.${how}` });
}
