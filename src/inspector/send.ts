// Sends a sample to the public door as Svix would: signed with the server's own secret, over a real socket.

import { createHmac } from "node:crypto";

import { eventNames } from "../clerk/events.ts";
import { messageId } from "../clerk/message-id.ts";
import { sample } from "../clerk/samples.ts";
import type { SentJson } from "./types.ts";

export interface SendOptions {
  /** The public door, as this machine reaches it. */
  webhookUrl: () => string;
  /** What it is signed with: the first of the secrets in use. */
  key: () => Buffer | undefined;
}

export type SendSample = (event: string, data?: Record<string, unknown>) => Promise<SentJson | undefined>;

/** Undefined: there is no such event. */
export function createSend({ webhookUrl, key }: SendOptions): SendSample {
  return async (name, data) => {
    const known = eventNames.find((each) => each === name);
    if (!known) return undefined;
    // What somebody types has no type: the handler finds out.
    const body = JSON.stringify(sample(known, data ? { overrides: { data } as never } : {}));
    const now = Date.now();
    const id = messageId(now);
    const timestamp = String(Math.floor(now / 1_000));
    const digest = createHmac("sha256", key() ?? "")
      .update(`${id}.${timestamp}.${body}`)
      .digest("base64");
    const headers = {
      "content-type": "application/json",
      "user-agent": "bellhop-inspector",
      "svix-id": id,
      "svix-timestamp": timestamp,
      "svix-signature": `v1,${digest}`,
    };
    // Never through HTTP_PROXY, which knows nothing of this machine's ports.
    const response = await Bun.fetch(webhookUrl(), {
      method: "POST",
      headers,
      body,
      redirect: "manual",
      proxy: false,
    } as RequestInit);
    await response.arrayBuffer();
    return { id, status: response.status };
  };
}
