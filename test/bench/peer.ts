// What people use without Bellhop, on the same runtime and framework: verify and answer; nothing is stored.

import { verifyWebhook } from "@clerk/backend/webhooks";
import { Elysia } from "elysia";

new Elysia()
  .post(
    "/api/webhooks",
    async ({ request, status }) => {
      try {
        return { type: (await verifyWebhook(request)).type };
      } catch {
        return status(400);
      }
    },
    { parse: "none" },
  )
  .listen({ port: Number(process.env.PORT), hostname: "127.0.0.1" });
