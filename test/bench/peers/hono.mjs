// Hono on Bun with `@clerk/backend`: verify and answer.

import { verifyWebhook } from "@clerk/backend/webhooks";
import { Hono } from "hono";

const app = new Hono();

app.post("/api/webhooks", async (c) => {
  try {
    await verifyWebhook(c.req.raw);
    return c.text("Webhook received");
  } catch {
    return c.text("Error verifying webhook", 400);
  }
});

export default { port: Number(process.env.PORT), hostname: "127.0.0.1", fetch: app.fetch };
