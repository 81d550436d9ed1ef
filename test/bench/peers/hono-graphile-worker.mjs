// Hono and Graphile Worker: verify, add a job in Postgres, answer. The same process runs the jobs. Graphile Worker deletes
// a job when it is done, so the ids of the handled ones are written to a file at the end, for the check.

import { writeFileSync } from "node:fs";

import { Logger, run } from "graphile-worker";
import { Hono } from "hono";

import { verified } from "./signature.mjs";

const TASK = "webhook";
const handled = [];
// Batches, as its documentation recommends for many short jobs. Other sizes of the pool, and no key, made no difference:
// each job notifies the workers, and that serializes commits.
const runner = await run({
  preset: {
    worker: {
      connectionString: process.env.POSTGRES_URL,
      concurrentJobs: 24,
      maxPoolSize: 26,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  // It logs each job otherwise.
  logger: new Logger(() => () => {}),
  noHandleSignals: true,
  taskList: {
    [TASK]({ id, body }) {
      JSON.parse(body);
      handled.push(id);
    },
  },
});
process.once("SIGTERM", () => void stop());

async function stop() {
  await runner.stop();
  writeFileSync(process.env.HANDLED_FILE, handled.join("\n"));
  process.exit();
}

const app = new Hono();

app.post("/api/webhooks", async (c) => {
  const delivery = await verified(c.req.raw);
  if (!delivery) return c.text("wrong signature", 400);
  await runner.addJob(TASK, delivery, { jobKey: delivery.id });
  return c.text("ok");
});

export default { port: Number(process.env.PORT), hostname: "127.0.0.1", fetch: app.fetch };
