// Signs events and posts them as Svix does for Clerk: for `bun send`, the inspector, and tests of handlers.

import { createHmac } from "node:crypto";

/** A message before it is signed; `now` is the time of its signature in milliseconds. */
export interface Message {
  id: string;
  key: Buffer;
  now?: number;
}

/** The three `svix-*` headers of a body (docs.svix.com/receiving/verifying-payloads/how-manual). */
export function signedHeaders(body: string | Uint8Array, { id, key, now = Date.now() }: Message) {
  const timestamp = String(Math.floor(now / 1_000));
  const digest = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  return { "svix-id": id, "svix-timestamp": timestamp, "svix-signature": `v1,${digest}` };
}

export interface PostOptions extends Message {
  userAgent: string;
  /** Use HTTP_PROXY. By default a request never does: a proxy does not reach this machine's loopback address. */
  viaProxy?: boolean;
}

/** Posts an event to a webhook endpoint. Rejects when nothing answers. */
export async function postEvent(url: string, event: object, { userAgent, viaProxy, ...message }: PostOptions) {
  const body = JSON.stringify(event);
  const headers = {
    "content-type": "application/json",
    "user-agent": userAgent,
    ...signedHeaders(body, message),
  };
  // Not the global fetch, which a test may have replaced to observe its handler. Bun's types lack `proxy: false`.
  const response = await Bun.fetch(url, {
    method: "POST",
    headers,
    body,
    redirect: "manual",
    ...(!viaProxy && { proxy: false as unknown as string }),
  });
  return { status: response.status, text: await response.text() };
}
