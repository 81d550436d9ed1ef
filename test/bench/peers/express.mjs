// The Express example of docs.svix.com/receiving/verifying-payloads/how: raw body, `svix`, answer.

import express from "express";
import { Webhook } from "svix";

const webhook = new Webhook(process.env.CLERK_WEBHOOK_SIGNING_SECRET);
const app = express();

app.post("/api/webhooks", express.raw({ type: "application/json" }), (req, res) => {
  try {
    webhook.verify(req.body, req.headers);
  } catch {
    return res.status(400).json({});
  }
  return res.json({});
});

// Node closes a connection that is idle for 5 s. On a busy machine, it does so before it reads the next request.
app.listen(Number(process.env.PORT), "127.0.0.1").keepAliveTimeout = 72_000;
