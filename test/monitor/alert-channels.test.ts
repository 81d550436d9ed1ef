// Slack, Discord, webhooks and mail get what they document, and their failures are distinguished.

import { expect, setDefaultTimeout, test } from "bun:test";

import { Webhook } from "svix";

import { type Alert, AlertError, discordBody, sendAlert, slackBody } from "../../src/monitor/alert-channels.ts";
import { composeMessage } from "../../src/monitor/alert-text.ts";
import type { AlertTarget } from "../../src/monitor/alert-url.ts";
import type { Notice } from "../../src/monitor/notices.ts";
import type { ProblemView } from "../../src/problems/problem-views.ts";
import { httpReceiver, mailReceiver } from "./receivers.ts";

setDefaultTimeout(20_000);

export const problem = (more: Partial<ProblemView> = {}): ProblemView => ({
  id: "p_24ad7247fac4", handler: "user.created/crm", name: "HubSpotError", message: "HubSpot answered 503 <!channel> @everyone",
  place: "handlers/_lib/hubspot.ts:11", source: "throw new HubSpotError(status);", state: "open", muted: false, failures: 12,
  runs: { dead: 3, retrying: 1, done: 0, skipped: 0 }, subjects: 4, more: false, firstAt: 0, lastAt: 0, resolvedAt: null,
  regressedAt: null, newest: "msg_1", days: [],
  ...more,
}); // prettier-ignore

const NOTICES: Notice[] = [
  { kind: "problem", changes: ["new", "10 times", "dead"], problem: problem() },
  { kind: "paused", handler: "user.created/crm", reason: "20 runs of different subjects failed alike" },
  { kind: "resumed", handler: "user.created/crm", pausedMs: 720_000 },
  { kind: "outage", of: "inbox", reason: "the disk is full" },
  { kind: "outage over", of: "inbox", lastedMs: 61_000 },
  { kind: "silence", quietMs: 21_600_000, expected: 41 },
  { kind: "silence over", quietMs: 25_200_000 },
  { kind: "drift", tables: [{ table: "users", rows: 3 }] },
];

const alertOf = (notices: readonly Notice[]): Alert => {
  return { id: "alert_1", at: Date.UTC(2026, 5, 1), message: composeMessage(notices, "web-1"), notices };
};
const huge = Array.from({ length: 40 }, (): Notice => {
  return {
    kind: "problem",
    changes: ["new"],
    problem: problem({ message: "&<>_".repeat(2_000), handler: "h".repeat(300) }),
  };
});

test("writes one sentence about each notice", () => {
  const { entries, footer } = composeMessage(NOTICES, "web-1");
  expect(entries.map(({ title }) => title)).toEqual([
    "New problem in user.created/crm: HubSpotError: HubSpot answered 503 <!channel> @everyone",
    "user.created/crm is paused: 20 runs of different subjects failed alike",
    "user.created/crm runs again, after a pause of 12 min",
    "Deliveries can't be stored: the disk is full",
    "Deliveries are stored again, after 61 s",
    "No delivery for 6 h; in such a time, 41 usually come",
    "Deliveries arrive again, after 7 h",
    "The mirror differs from Clerk: users: 3 rows",
  ]);
  expect(entries[0]!.details).toEqual([
    "handlers/_lib/hubspot.ts:11",
    "3 dead, 1 retrying, 12 failures, 4 subjects",
    "bun problems p_24ad7247fac4, and when it is fixed: bun replay --problem p_24ad7247fac4",
  ]);
  expect(footer).toBe("Bellhop on web-1");
  expect(composeMessage(huge, "web-1").footer).toBe("Bellhop on web-1; 32 more alerts: bun problems");
});

// docs.slack.com/reference/block-kit/blocks and docs.slack.com/messaging/formatting-message-text.
test("Slack's blocks are within its limits, and mention no one", () => {
  for (const notices of [NOTICES, huge, NOTICES.slice(0, 1)]) {
    const body = slackBody(composeMessage(notices, "web-1"));
    expect(body.blocks.length).toBeLessThanOrEqual(50);
    for (const block of body.blocks)
      if ("text" in block) {
        expect(block.text.text.length).toBeWithin(1, block.type === "header" ? 151 : 3_001);
        expect(block.text.type).toBe(block.type === "header" ? "plain_text" : "mrkdwn");
        if (block.type === "section") expect(block.text.text).not.toMatch(/<|>|&(?!amp;|lt;|gt;)/);
      } else expect(block.elements.length).toBeWithin(1, 11);
    expect(body.text.length).toBeWithin(1, 4_001);
    expect(body.text).not.toMatch(/[<>]/);
    expect(JSON.stringify(body.blocks).length).toBeLessThan(40_000);
  }
});

// discord.com/developers/docs/resources/message#embed-object-embed-limits.
test("Discord's embed is within its limits, and mentions no one", () => {
  for (const notices of [NOTICES, huge]) {
    const { embeds, allowed_mentions } = discordBody(composeMessage(notices, "web-1"));
    const { title, description, footer, color } = embeds[0]!;
    expect(title.length).toBeWithin(1, 257);
    expect(description.length).toBeWithin(1, 4_097);
    expect(footer.text.length).toBeWithin(1, 2_049);
    expect(title.length + description.length + footer.text.length).toBeLessThanOrEqual(6_000);
    expect(color).toBeWithin(0, 0x1_00_00_00);
    expect(allowed_mentions).toEqual({ parse: [] });
  }
});

test("posts to Slack and Discord", async () => {
  using receiver = httpReceiver();
  for (const kind of ["slack", "discord"] as const)
    await sendAlert({ kind, name: "test", url: receiver.url }, alertOf(NOTICES));
  const [slack, discord] = receiver.requests;
  expect(slack!.headers.get("content-type")).toBe("application/json");
  expect(JSON.parse(slack!.body)).toEqual(JSON.parse(JSON.stringify(slackBody(alertOf(NOTICES).message))));
  expect(JSON.parse(discord!.body)).toMatchObject({
    username: "Bellhop",
    embeds: [{ title: "8 alerts from Bellhop" }],
  });
});

test("signs a webhook by Standard Webhooks", async () => {
  using receiver = httpReceiver();
  const secret = crypto.getRandomValues(Buffer.alloc(24));
  const target: AlertTarget = { kind: "webhook", name: "test", url: receiver.url, secret };
  await sendAlert(target, alertOf(NOTICES));
  const [{ headers, body }] = receiver.requests as [{ headers: Headers; body: string }];
  const verifier = new Webhook(`whsec_${secret.toString("base64")}`);
  verifier.verify(body, Object.fromEntries(headers));
  expect(headers.get("webhook-id")).toBe("alert_1");
  expect([...headers.keys()].filter((name) => name.startsWith("svix-"))).toEqual([]);
  expect(JSON.parse(body)).toMatchObject({
    type: "bellhop.alert",
    timestamp: "2026-06-01T00:00:00.000Z",
    data: {
      title: "8 alerts from Bellhop",
      notices: [{ kind: "problem", problem: { id: "p_24ad7247fac4" } }, {}, {}, {}, {}, {}, {}, {}],
    },
  });
  expect(() => verifier.verify(`${body} `, Object.fromEntries(headers))).toThrow();
});

const failureOf = async (sending: Promise<void>) => {
  const error = await sending.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AlertError);
  return error as AlertError;
};

test("distinguishes a failure that passes from one that stays, without the address", async () => {
  using receiver = httpReceiver();
  const send = (url = receiver.url) =>
    failureOf(sendAlert({ kind: "slack", name: "x", url }, alertOf(NOTICES), { timeoutMs: 2_000 }));
  for (const status of [500, 503, 429, 408]) {
    receiver.answers.push({ status });
    expect(await send()).toMatchObject({ isTransient: true, message: `it answered ${status}` });
  }
  for (const status of [400, 403, 404, 410, 302]) {
    receiver.answers.push({ status, headers: { location: "http://127.0.0.1:1/" } });
    expect(await send()).toMatchObject({ isTransient: false });
  }
  receiver.answers.push({ status: 429, headers: { "retry-after": "7" } });
  expect(await send()).toMatchObject({ retryAfterMs: 7_000 });
  const refused = await send("http://127.0.0.1:1/topsecret");
  expect(refused.isTransient).toBe(true);
  expect(refused.message).not.toContain("topsecret");
});

for (const secure of [true, false])
  test(`sends mail over ${secure ? "TLS" : "STARTTLS"}`, async () => {
    await using receiver = await mailReceiver({ secure });
    const target = (password: string): AlertTarget => ({
      kind: "mail",
      name: "localhost",
      url: `${secure ? "smtps" : "smtp"}://ops:${password}@localhost:${receiver.port}`,
      from: "bellhop@example.com",
      to: ["a@example.com", "b@example.com"],
    });
    await sendAlert(target("pass%2Fword"), alertOf(NOTICES.slice(0, 1)), { ca: receiver.ca });
    expect(receiver.mails).toMatchObject([{ from: "bellhop@example.com", to: ["a@example.com", "b@example.com"] }]);
    const { text } = receiver.mails[0]!;
    expect(text).toContain("Message-ID: <alert_1@bellhop>");
    expect(text.replaceAll(/=\r?\n/g, "")).toContain("3 dead, 1 retrying, 12 failures, 4 subjects");

    expect(await failureOf(sendAlert(target("wrong"), alertOf(NOTICES), { ca: receiver.ca }))).toMatchObject({
      isTransient: false,
    });
    // A certificate that no authority has signed.
    await failureOf(sendAlert(target("pass%2Fword"), alertOf(NOTICES), { timeoutMs: 3_000 }));
    expect(receiver.mails).toHaveLength(1);
  });
