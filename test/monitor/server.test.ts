// Whole servers: an alert that is refused is in the log and in the details of /health, and several servers send one alert.

import { expect, test } from "bun:test";

import { SQL } from "bun";

import { sample } from "../../src/clerk/samples.ts";
import { serverWith, until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { httpReceiver } from "./receivers.ts";

const FAILS = 'export default () => { throw new Error("no mail today"); };';
const ALERT_SECRET = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;

test("a refused alert is in the log and in the details of /health, whose status stays 200", async () => {
  using receiver = httpReceiver();
  receiver.answers.push({ status: 403 });
  await using bellhop = await serverWith({ "user.created.ts": FAILS }, { ALERT_URLS: receiver.url, ALERT_SECRET });
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

test.skipIf(noPostgres !== undefined)(
  "two servers report each problem once, also when they stop",
  async () => {
    using receiver = httpReceiver();
    await using postgres = await startPostgres();
    const url = await postgres.database();
    await using sql = new SQL(url, { max: 1 });
    const isTaken = async () =>
      (await sql`select id from problem where handler = 'user.updated' and news_owner is not null`).length > 0;
    const env = { INBOX_URL: url, ALERT_URLS: receiver.url, ALERT_SECRET };
    const files = { "user.created.ts": FAILS, "user.updated.ts": FAILS };
    const notices = () => receiver.requests.flatMap(({ body }) => JSON.parse(body).data.notices);
    {
      await using first = await serverWith(files, env);
      await using second = await serverWith(files, env);
      for (const [index, server] of [first, second, first, second].entries())
        await server.post(sample("user.created"), { id: `msg_${index}` });
      await until("the alert", () => notices().length > 0, 30_000);
      await second.post(sample("user.updated"), { id: "msg_updated" });
      // The next message is due in a minute; a stop sends it now.
      await until("the second problem to be taken", isTaken, 30_000);
    }
    expect(notices().map(({ changes, problem }) => [changes[0], problem.handler])).toEqual([
      ["new", "user.created"],
      ["new", "user.updated"],
    ]);
  },
  60_000,
);
