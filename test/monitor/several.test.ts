import { afterAll, expect, test } from "bun:test";

import type { HealthJson } from "../../src/api/server-types.ts";
import { sample } from "../../src/clerk/samples.ts";
import { type Files, serverWith, until } from "../harness.ts";
import { noPostgres, startPostgres } from "../postgres.ts";
import { scrape, valueOf } from "./scrape.ts";

const postgres = noPostgres ? undefined : await startPostgres();
afterAll(() => postgres?.[Symbol.asyncDispose](), 60_000);
if (!postgres) console.log(`skipped: ${noPostgres}`);

const FILES: Files = { "user.created.ts": "export default () => {};" };

test.skipIf(!postgres)("servers count for themselves, and share the figures of the inbox and of the past", async () => {
  const env = { INBOX_URL: await postgres!.database(), METRICS_PORT: "0" };
  await using first = await serverWith(FILES, env);
  await using second = await serverWith(FILES, env);
  for (const [server, ids] of [
    [first, ["msg_1", "msg_2"]],
    [second, ["msg_3"]],
  ] as const)
    for (const id of ids) await server.post(sample("user.created"), { id });
  await until("the runs", async () =>
    (await Promise.all(["msg_1", "msg_2", "msg_3"].map((id) => second.get(id)))).every((delivery) =>
      delivery?.runs.every(({ state }) => state === "done"),
    ),
  );

  const figures = async ({ metricsPort }: typeof first) => {
    const families = await scrape(`http://127.0.0.1:${metricsPort}/metrics`);
    return {
      accepted: valueOf(families, "bellhop_deliveries_total", { type: "user.created", status: "accepted" }),
      last: valueOf(families, "bellhop_last_delivery_timestamp_seconds"),
      writable: valueOf(families, "bellhop_inbox_writable"),
    };
  };
  const [one, two] = [await figures(first), await figures(second)];
  expect([one.accepted, two.accepted]).toEqual([2, 1]);
  expect([one.writable, two.writable]).toEqual([1, 1]);
  expect(one.last).toBe(two.last);

  // Figures outlive their server.
  await first.stop();
  const health = (await (
    await fetch("http://bellhop/api/health?window=24h", { unix: `${second.dataDir}/bellhop.sock`, keepalive: false })
  ).json()) as HealthJson;
  expect(health.deliveries.reduce((sum, count) => sum + count, 0)).toBe(3);
});
