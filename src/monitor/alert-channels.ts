// Sends one message to one target: Slack, Discord, a signed webhook, or mail. Rejects with an `AlertError`, whose text never
// contains an address, because Slack's and Discord's are secrets.

import { signedHeaders } from "../clerk/signed-message.ts";
import { messageOf } from "../errors.ts";
import { type AlertMessage, toText } from "./alert-text.ts";
import type { AlertTarget } from "./alert-url.ts";
import type { Notice } from "./notices.ts";

export class AlertError extends Error {
  constructor(
    message: string,
    /** False when another try would fail as well. */
    readonly isTransient: boolean,
    /** How long the receiver asks to wait. */
    readonly retryAfterMs = 0,
  ) {
    super(message);
  }
}

/** A message with its notices; `id` is the same for each try, so that a receiver can recognise a repeated one. */
export interface Alert {
  id: string;
  /** Unix time in milliseconds. */
  at: number;
  message: AlertMessage;
  notices: readonly Notice[];
}

interface SendOptions {
  timeoutMs?: number;
  /** A certificate authority to trust for mail; for tests. */
  ca?: string;
}

const TIMEOUT_MS = 10_000;

// docs.slack.com/reference/block-kit/blocks: a header has 150 characters, a section 3,000, a message 50 blocks. Slack
// refuses messages of about 13,000 characters in all, which is not documented.
const SLACK_HEADER = 150;
const SLACK_SECTION = 3_000;
// discord.com/developers/docs/resources/message#embed-object-embed-limits: 256, 4,096 and 6,000 in all.
const DISCORD_TITLE = 256;
const DISCORD_DESCRIPTION = 4_096;
const DISCORD_RED = 0xb4_23_18;

export async function sendAlert(target: AlertTarget, alert: Alert, options: SendOptions = {}): Promise<void> {
  const { timeoutMs = TIMEOUT_MS } = options;
  switch (target.kind) {
    case "slack":
      return post(target.url, JSON.stringify(slackBody(alert.message)), {}, timeoutMs);
    case "discord":
      return post(target.url, JSON.stringify(discordBody(alert.message)), {}, timeoutMs);
    case "webhook": {
      const body = JSON.stringify(webhookBody(alert));
      // Signed for each try, because receivers refuse old timestamps.
      const signed = signedHeaders(body, { id: alert.id, key: target.secret });
      const headers = Object.fromEntries(
        Object.entries(signed).map(([name, value]) => [name.replace("svix-", "webhook-"), value]),
      );
      return post(target.url, body, headers, timeoutMs);
    }
    case "mail":
      return mail(target, alert, timeoutMs, options.ca);
  }
}

export function slackBody({ title, entries, footer }: AlertMessage) {
  const section = (text: string) => ({ type: "section", text: { type: "mrkdwn", text: shorten(text, SLACK_SECTION) } });
  return {
    // Shown in notifications.
    text: escapeSlack(title),
    blocks: [
      { type: "header", text: { type: "plain_text", text: shorten(title, SLACK_HEADER), emoji: false } },
      ...entries.map(({ title: heading, details }) =>
        section([`*${escapeSlack(heading)}*`, ...details.map(escapeSlack)].join("\n")),
      ),
      { type: "context", elements: [{ type: "mrkdwn", text: escapeSlack(footer) }] },
    ],
    unfurl_links: false,
  };
}

export function discordBody({ title, entries, footer }: AlertMessage) {
  const text = entries
    .map(({ title: heading, details }) => [`**${escapeDiscord(heading)}**`, ...details.map(escapeDiscord)].join("\n"))
    .join("\n\n");
  return {
    username: "Bellhop",
    embeds: [
      {
        title: shorten(title, DISCORD_TITLE),
        description: shorten(text, DISCORD_DESCRIPTION),
        color: DISCORD_RED,
        footer: { text: footer },
      },
    ],
    // An error's text must not notify everyone.
    allowed_mentions: { parse: [] },
  };
}

/** The shape that Standard Webhooks recommends: `type`, `timestamp` and `data`. */
function webhookBody({ at, message, notices }: Alert) {
  const { title, footer } = message;
  const data = { title, text: toText(message), footer, notices };
  return { type: "bellhop.alert", timestamp: new Date(at).toISOString(), data };
}

async function post(url: string, body: string, headers: Record<string, string>, timeoutMs: number): Promise<void> {
  let response: Response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", "user-agent": "bellhop", ...headers },
      body,
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
    });
    // Read to the end, so that the connection is free.
    await response.arrayBuffer();
  } catch (error) {
    throw new AlertError(describeFailure(error, url), true);
  }
  if (response.ok) return;
  const { status } = response;
  const isTransient = status >= 500 || status === 429 || status === 408;
  throw new AlertError(
    `it answered ${status}`,
    isTransient,
    Number(response.headers.get("retry-after") ?? 0) * 1_000 || 0,
  );
}

async function mail(
  target: AlertTarget & { kind: "mail" },
  { id, at, message }: Alert,
  timeoutMs: number,
  ca?: string,
) {
  const { createTransport } = await loadMailer();
  const { url, from, to, name } = target;
  const isImplicit = url.startsWith("smtps:");
  const { hostname, port, username, password } = new URL(url);
  const transport = createTransport({
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port) || (isImplicit ? 465 : 587),
    secure: isImplicit,
    // A password is never sent in the clear.
    requireTLS: !isImplicit,
    ...(username && { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } }),
    ...(ca !== undefined && { tls: { ca } }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
  });
  try {
    await transport.sendMail({
      from: { name: "Bellhop", address: from },
      to,
      subject: message.title,
      text: toText(message),
      date: new Date(at),
      messageId: `<${id}@bellhop>`,
    });
  } catch (error) {
    const { code = "", responseCode = 0 } = error as { code?: string; responseCode?: number };
    // 5xx of SMTP is permanent: a wrong password, an unknown recipient.
    const isTransient = code !== "EAUTH" && !(responseCode >= 500);
    throw new AlertError(describeFailure(error, name), isTransient);
  } finally {
    transport.close();
  }
}

/** Loaded only when an alert is sent by mail. */
async function loadMailer(): Promise<typeof import("nodemailer")> {
  try {
    return await import("nodemailer");
  } catch {
    throw new AlertError("mail needs the package nodemailer: bun add nodemailer", false);
  }
}

function describeFailure(error: unknown, address: string): string {
  if ((error as Error).name === "TimeoutError") return "it did not answer in time";
  return messageOf(error).replaceAll(address, "the address").split("\n", 1)[0]!;
}

// docs.slack.com/messaging/formatting-message-text: these three characters are control characters.
const escapeSlack = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const escapeDiscord = (text: string) => text.replaceAll(/[\\*_~`|[\]]/g, String.raw`\$&`);

function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
