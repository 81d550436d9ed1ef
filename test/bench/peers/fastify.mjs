// The example of `@clerk/fastify`. Its `verifyWebhook` takes the parsed body and serialises it again.

import { verifyWebhook } from "@clerk/fastify/webhooks";
import Fastify from "fastify";

const fastify = Fastify();

fastify.post("/api/webhooks", async (request, reply) => {
  try {
    await verifyWebhook(request);
    return reply.status(200).send("Webhook received");
  } catch {
    return reply.status(400).send("Error: Verification error");
  }
});

await fastify.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
