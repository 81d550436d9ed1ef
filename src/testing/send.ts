// Sends an event as Svix does: signed by the same rules, over a real socket.

import { createHmac } from "node:crypto";

import type { Key } from "../receive/verify.ts";

/** What the receiver answered. */
export interface Answer {
  status: number;
  /** Parsed: `{ id, status: "accepted" }` when it was taken. */
  body: Record<string, unknown>;
}

interface Message {
  id: string;
  event: object;
  key: Key;
  /** When it is signed, in milliseconds. */
  now: number;
}

export async function sendEvent(port: number, path: string, { id, event, key, now }: Message): Promise<Answer> {
  const body = JSON.stringify(event);
  const timestamp = String(Math.floor(now / 1_000));
  const digest = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  const headers = {
    "content-type": "application/json",
    "user-agent": "bellhop-test",
    "svix-id": id,
    "svix-timestamp": timestamp,
    "svix-signature": `v1,${digest}`,
  };
  // Not the global one: a test may have put its own in that place, to see what the handler fetches.
  // And never through HTTP_PROXY, which knows nothing of this machine's ports.
  const response = await Bun.fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", headers, body, proxy: false });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
