// Reads `ALERT_URLS` and `ALERT_SECRET`: who gets alerts, and how. Pure; no message ever contains an address, because Slack's
// and Discord's are secrets.

import type { Environment, Problem } from "../setting-reader.ts";

export type AlertTarget =
  | { kind: "slack" | "discord"; name: string; url: string }
  /** Any other address: JSON, signed by Standard Webhooks. */
  | { kind: "webhook"; name: string; url: string; secret: Buffer }
  | { kind: "mail"; name: string; url: string; from: string; to: string[] };

const EXAMPLE =
  "ALERT_URLS=https://hooks.slack.com/services/…,smtps://user:password@smtp.example.com?to=ops@example.com";
const SECRET_EXAMPLE = 'ALERT_SECRET=whsec_…   (make one: echo "whsec_$(openssl rand -base64 24)")';

/** `parseSecret` throws an error whose message continues the sentence `ALERT_SECRET …`. */
export function readAlertTargets(
  env: Environment,
  problems: Problem[],
  parseSecret: (text: string) => Buffer,
): AlertTarget[] {
  const secret = readSecret(env, problems, parseSecret);
  const text = env.ALERT_URLS?.trim() ?? "";
  if (text === "") return [];
  return text.split(",").flatMap((part, index, all): AlertTarget[] => {
    const target = readTarget(part.trim(), secret);
    if (typeof target !== "string") return [target];
    if (target.startsWith("ALERT_SECRET"))
      problems.push({ name: "ALERT_SECRET", message: target.slice("ALERT_SECRET ".length), example: SECRET_EXAMPLE });
    else {
      const which = all.length > 1 ? `has a wrong part ${index + 1} of ${all.length}: it ` : "";
      problems.push({ name: "ALERT_URLS", message: `${which}${target}`, example: EXAMPLE });
    }
    return [];
  });
}

function readSecret(env: Environment, problems: Problem[], parseSecret: (text: string) => Buffer): Buffer | undefined {
  const text = env.ALERT_SECRET?.trim();
  if (!text) return undefined;
  try {
    return parseSecret(text);
  } catch (error) {
    problems.push({ name: "ALERT_SECRET", message: (error as Error).message, example: SECRET_EXAMPLE });
    return Buffer.alloc(24);
  }
}

/** The target, or the end of a sentence that begins with the setting. */
function readTarget(text: string, secret: Buffer | undefined): AlertTarget | string {
  const url = URL.parse(text);
  if (!url || url.hostname === "") return "is not an address";
  const { protocol, hostname: name } = url;
  if (protocol === "smtps:" || protocol === "smtp:") return readMail(url);
  if (protocol !== "https:" && protocol !== "http:") return `begins with ${protocol}, expected https: or smtps:`;
  if (/^hooks\.slack(?:-gov)?\.com$/.test(name)) return { kind: "slack", name, url: text };
  if (/^(?:\w+\.)?discord(?:app)?\.com$/.test(name) && url.pathname.startsWith("/api/"))
    return { kind: "discord", name, url: text };
  if (!secret) return `ALERT_SECRET is not set: it signs the alerts to ${name}`;
  return { kind: "webhook", name, url: text, secret };
}

/** `smtps://user:password@host:465?to=a@example.com&to=b@example.com&from=bellhop@example.com`. */
function readMail(url: URL): AlertTarget | string {
  const to = url.searchParams.getAll("to");
  const isAddress = (text: string) => /^[^\s@<>]+@[^\s@<>]+$/.test(text);
  const user = decodeURIComponent(url.username);
  const from = url.searchParams.get("from") ?? (isAddress(user) ? user : to[0]);
  if (to.length === 0 || !to.every(isAddress)) return "needs ?to=, with the address of a recipient";
  if (!from || !isAddress(from)) return "has a from= that is not the address of a sender";
  const server = new URL(url);
  server.search = "";
  return { kind: "mail", name: url.hostname, url: server.href, from, to };
}
