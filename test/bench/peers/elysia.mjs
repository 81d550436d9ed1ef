// Elysia, Bellhop's own framework, with `@clerk/backend`: verify and answer.

import { verifyWebhook } from "@clerk/backend/webhooks";
import { Elysia } from "elysia";

new Elysia()
  .post(
    "/api/webhooks",
    async ({ request, status }) => {
      try {
        await verifyWebhook(request);
        return "Webhook received";
      } catch {
        return status(400, "Error verifying webhook");
      }
    },
    { parse: "none" },
  )
  .listen({ port: Number(process.env.PORT), hostname: "127.0.0.1" });
