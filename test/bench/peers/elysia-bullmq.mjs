// Elysia and BullMQ: verify, add a job in Redis, answer. The same process runs the jobs.

import { Queue, Worker } from "bullmq";
import { Elysia } from "elysia";

import { verified } from "./signature.mjs";

const QUEUE = "webhooks";
const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const queue = new Queue(QUEUE, { connection });
const worker = new Worker(QUEUE, async ({ data }) => void JSON.parse(data.body), { connection, concurrency: 64 });
worker.on("error", (error) => console.error(error));
await worker.waitUntilReady();

new Elysia()
  .post(
    "/api/webhooks",
    async ({ request, status }) => {
      const delivery = await verified(request);
      if (!delivery) return status(400, "wrong signature");
      await queue.add("delivery", delivery, { jobId: delivery.id });
      return "ok";
    },
    { parse: "none" },
  )
  .listen({ port: Number(process.env.PORT), hostname: "127.0.0.1" });
