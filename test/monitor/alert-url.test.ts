// ALERT_URLS and ALERT_SECRET.

import { expect, test } from "bun:test";

import { readAlertTargets } from "../../src/monitor/alert-url.ts";
import { parseSecrets } from "../../src/receive/verify.ts";
import type { Problem } from "../../src/setting-reader.ts";

const SECRET = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;

function read(urls: string, secret?: string) {
  const problems: Problem[] = [];
  const targets = readAlertTargets(
    { ALERT_URLS: urls, ALERT_SECRET: secret },
    problems,
    (text) => parseSecrets(text)[0]!,
  );
  return { targets, problems };
}

test("recognises Slack, Discord, webhooks and mail", () => {
  const urls = [
    "https://hooks.slack.com/services/T1/B1/x",
    "https://discord.com/api/webhooks/1/x",
    "https://example.com/hooks/bellhop",
    "smtps://ops%40example.com:pass%2Fword@smtp.example.com:465/?to=a@example.com&to=b@example.com",
    "smtp://user:x@mail.example.com?to=a@example.com&from=bellhop@example.com",
  ];
  const { targets, problems } = read(urls.join(" , "), SECRET);
  expect(problems).toEqual([]);
  expect(targets).toEqual([
    { kind: "slack", name: "hooks.slack.com", url: urls[0]! },
    { kind: "discord", name: "discord.com", url: urls[1]! },
    { kind: "webhook", name: "example.com", url: urls[2]!, secret: Buffer.alloc(24, 7) },
    {
      kind: "mail",
      name: "smtp.example.com",
      url: "smtps://ops%40example.com:pass%2Fword@smtp.example.com:465/",
      from: "ops@example.com",
      to: ["a@example.com", "b@example.com"],
    },
    {
      kind: "mail",
      name: "mail.example.com",
      url: expect.stringMatching(/^smtp:\/\/user:x@mail\.example\.com\/?$/),
      from: "bellhop@example.com",
      to: ["a@example.com"],
    },
  ]);
  expect(read("").targets).toEqual([]);
});

test("reports wrong addresses without repeating them", () => {
  const wrong: [urls: string, name: string, message: string][] = [
    ["hooks.slack.com/services/T/B/topsecret", "ALERT_URLS", "is not an address"],
    ["ftp://topsecret.example.com", "ALERT_URLS", "begins with ftp:"],
    ["https://example.com/topsecret", "ALERT_SECRET", "is not set: it signs the alerts to example.com"],
    ["smtps://u:topsecret@example.com", "ALERT_URLS", "needs ?to="],
    ["smtps://u:topsecret@example.com?to=ops", "ALERT_URLS", "needs ?to="],
    ["smtps://u:topsecret@example.com?to=a@b.c&from=d", "ALERT_URLS", "has a from= that is not"],
    ["https://hooks.slack.com/x,topsecret", "ALERT_URLS", "has a wrong part 2 of 2: it is not an address"],
  ];
  for (const [urls, name, message] of wrong) {
    const { problems } = read(urls);
    expect(problems).toEqual([{ name, message: expect.stringContaining(message), example: expect.any(String) }]);
    expect(JSON.stringify(problems)).not.toContain("topsecret");
  }
  expect(read("", "whsec_%").problems).toMatchObject([{ name: "ALERT_SECRET" }]);
});
