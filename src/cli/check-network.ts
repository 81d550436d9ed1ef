// `bun doctor`: what this machine reaches. The clock, Clerk's API, the endpoint from here and from outside.

import type { ClerkClient } from "@clerk/backend";

import { COMMAND } from "../command.ts";
import { formatDuration } from "../duration.ts";
import { messageOf, refusals } from "../errors.ts";
import { type Finding, note, ok, problem } from "./finding.ts";

const TIMEOUT_MS = 5_000;
// Svix's signatures are valid for five minutes.
const LATE_MS = 60_000;
const NOTICEABLE_MS = 5_000;

/** Compares the clock with the `Date` of an HTTP response. */
export async function checkClock(url: string, now: () => number = Date.now): Promise<Finding> {
  let date: string | null;
  const [before, start] = [now(), performance.now()];
  try {
    const response = await fetch(url, { method: "HEAD", redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
    date = response.headers.get("date");
  } catch (error) {
    return note("clock", `not checked: ${new URL(url).host} can't be reached (${messageOf(error)})`);
  }
  const serverTime = Date.parse(date ?? "");
  if (Number.isNaN(serverTime)) return note("clock", `not checked: ${new URL(url).host} sends no date`);
  // A date has whole seconds, and was written somewhere during the request.
  const uncertain = 1_000 + performance.now() - start;
  const off = Math.max(0, Math.abs(before + uncertain / 2 - (serverTime + 500)) - uncertain / 2);
  const fact = `the clock differs from ${new URL(url).host} by ${formatDuration(Math.round(off))}`;
  if (off < NOTICEABLE_MS) return ok("clock", `the clock agrees with ${new URL(url).host}`);
  const remedy = "Set it: timedatectl set-ntp true, or restart the container's host";
  return off < LATE_MS
    ? note("clock", fact, remedy)
    : problem("clock", `${fact}; from 5 min on, every delivery is refused`, remedy);
}

/** Whether the API key works, and is of the instance that sends the deliveries. */
export async function checkKey(
  clerk: Pick<ClerkClient, "instance"> | undefined,
  deliveriesFrom: string | undefined,
): Promise<Finding> {
  if (!clerk)
    return note("key", "CLERK_SECRET_KEY is not set: handlers have no `clerk`, and no backfill or drift works");
  try {
    const { id, environmentType } = await clerk.instance.get();
    if (deliveriesFrom !== undefined && deliveriesFrom !== id)
      return problem(
        "key",
        `CLERK_SECRET_KEY belongs to ${id} (${environmentType}), and the latest delivery came from ${deliveriesFrom}`,
        "Copy the key of that instance (Clerk Dashboard, API keys), or the signing secret of this one",
      );
    const known = deliveriesFrom === undefined ? "" : ", which sends the deliveries";
    return ok("key", `CLERK_SECRET_KEY belongs to ${id} (${environmentType})${known}`);
  } catch (error) {
    const { status } = error as { status?: number };
    if (status === 401 || status === 403)
      return problem("key", "Clerk does not accept CLERK_SECRET_KEY", "Copy it again: Clerk Dashboard, API keys");
    return note(
      "key",
      `not checked: Clerk's API ${status ? `answered ${status}` : `can't be reached (${messageOf(error)})`}`,
    );
  }
}

/** The address that Clerk has to post to. */
export function checkAddress(tunnel: string | undefined, path: string, isDev: boolean): Finding {
  if (tunnel) return ok("address", `${tunnel}${path} (a tunnel to this machine)`);
  return isDev
    ? note(
        "address",
        "no tunnel leads to this machine, so Clerk can't reach it",
        `Start one: ${COMMAND} dev --tunnel, or ngrok http with the port`,
      )
    : note(
        "address",
        "the public address is not known here",
        `To check it: ${COMMAND} doctor --url https://hooks.example.com/api/webhooks`,
      );
}

/** What `/health` reports, beside the webhook path; nothing when no Bellhop answers there. */
export async function checkHealth(webhookUrl: string): Promise<Finding[]> {
  const url = new URL("/health", webhookUrl);
  let health: Partial<Record<"status" | "reason" | "database" | "log" | "alerts", string>>;
  try {
    const response = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
    health = Object(await response.json()) as typeof health;
  } catch {
    return [];
  }
  const { status, reason, database, log, alerts } = health;
  if (status === "shutting_down") return [note("health", `the server at ${url.host} is stopping`)];
  if (status !== "ok" && status !== "unavailable") return [];
  const inLog = "The server's log has the cause, since when, and what to do";
  const onError = "Free space where its standard output goes; its standard error has the cause";
  const found = (fact: string, remedy = inLog) => [problem("health", fact, remedy)];
  const troubles = [
    ...(status === "ok" ? [] : found(`deliveries get 503: ${reason ?? "they can't be stored"}`)),
    ...(database === undefined ? [] : found(`the handlers' database: ${database}`)),
    ...(log === undefined ? [] : found(`the log: ${log}`, onError)),
    ...(alerts === undefined ? [] : found(`alerts: ${alerts}`)),
  ];
  return troubles.length > 0 ? troubles : [ok("health", `the server at ${url.host} stores deliveries`)];
}

/** Whether this server answers at an address. A GET shows that without sending anything. */
export async function checkEndpoint(url: string, what: string): Promise<Finding> {
  const remedy = "Is the server running, and does the proxy or firewall pass this path on?";
  try {
    const response = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    if (response.status === 405 && text.startsWith(refusals.method_not_allowed.message))
      return ok("endpoint", `${what} answers: ${url}`);
    const isRedirect = response.status >= 300 && response.status < 400;
    const why = isRedirect
      ? `it redirects to ${response.headers.get("location")}, which Svix does not follow`
      : `it answered ${response.status}, and not as Bellhop does`;
    return problem("endpoint", `${what} is not this server: ${url}: ${why}`, remedy);
  } catch (error) {
    return problem("endpoint", `${what} can't be reached: ${url}: ${messageOf(error)}`, remedy);
  }
}
