// A whole server: an alert that is refused is in the log and in the details of /health, and harms no delivery.

import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { serverWith, until } from "../harness.ts";
import { httpReceiver } from "./receivers.ts";

test("a refused alert is in the log and in the details of /health, whose status stays 200", async () => {
  using receiver = httpReceiver();
  receiver.answers.push({ status: 403 });
  await using bellhop = await serverWith(
    { "user.created.ts": 'export default () => { throw new Error("no mail today"); };' },
    { ALERT_URLS: receiver.url, ALERT_SECRET: `whsec_${Buffer.alloc(24, 7).toString("base64")}` },
  );
  const health = async () => {
    const response = await fetch(new URL("/health", bellhop.url));
    return { status: response.status, body: (await response.json()) as object };
  };
  await bellhop.post(sample("user.created"), { id: "msg_1" });
  await until("the refused alert", async () => ("alerts" in (await health()).body ? true : undefined), 30_000);
  expect(await health()).toMatchObject({
    status: 200,
    body: { alerts: "the latest one could not be sent: see the log" },
  });
  expect(bellhop.lines.map(({ msg }) => msg)).toContain(
    "an alert to 127.0.0.1 could not be sent: it answered 403; the message is dropped",
  );
  expect(receiver.requests).toHaveLength(1);
  expect(JSON.parse(receiver.requests[0]!.body).data.title).toBe("New problem in user.created: Error: no mail today");
}, 60_000);
