// Elysia and pg-boss: verify, insert a job into Postgres, answer. The same process runs the jobs.

import { Elysia } from "elysia";
import { PgBoss } from "pg-boss";

import { verified } from "./signature.mjs";

const QUEUE = "webhooks";
// The fastest of the settings that were tried. With NOTIFY it accepts a third, because that serializes commits; other
// batches, fewer connections and one worker are slower too.
const boss = new PgBoss({ connectionString: process.env.POSTGRES_URL, max: 20 });
boss.on("error", (error) => console.error(error));
await boss.start();
await boss.createQueue(QUEUE);
const options = { batchSize: 64, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5, localConcurrency: 2 };
await boss.work(QUEUE, options, async (jobs) => {
  for (const { data } of jobs) JSON.parse(data.body);
});

new Elysia()
  .post(
    "/api/webhooks",
    async ({ request, status }) => {
      const delivery = await verified(request);
      if (!delivery) return status(400, "wrong signature");
      await boss.send(QUEUE, delivery);
      return "ok";
    },
    { parse: "none" },
  )
  .listen({ port: Number(process.env.PORT), hostname: "127.0.0.1" });
