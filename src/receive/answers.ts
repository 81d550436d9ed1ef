// What a request is answered: short, and never an error's own words.

import { type RefusalCode, refusals } from "../errors.ts";
import type { Accepted } from "../inbox/inbox.ts";

// Svix has a schedule of its own; this is for load balancers and people.
const RETRY_AFTER_SECONDS = "30";

/** The answer to what is refused, as the table in errors.ts has it. */
export function answer(code: RefusalCode): Response {
  const { status, says } = refusals[code];
  if (status === 405) return new Response(`${says}\n`, { status, headers: { allow: "POST" } });
  if (status === 503)
    return Response.json({ error: code }, { status, headers: { "retry-after": RETRY_AFTER_SECONDS } });
  // The rest of a body that is too large is not worth waiting for.
  if (status === 413) return Response.json({ error: code }, { status, headers: { connection: "close" } });
  return Response.json({ error: code }, { status });
}

/** The 200. Svix shows it to whoever pressed "Resend", so a duplicate says what they most likely want to know. */
export function answerStored(id: string, accepted: Accepted): Response {
  if (accepted.status === "accepted") return Response.json({ id, status: accepted.status });
  const runs = Object.fromEntries(accepted.runs.map(({ handler, state }) => [handler, state]));
  const replay = `It is stored and was not run again. To run it again: bun replay ${id}`;
  return Response.json({ id, status: accepted.status, runs, replay });
}
