// Sends a sample event to the webhook endpoint as Svix would: signed with the server's own secret, over a real socket.

import { createHmac } from "node:crypto";

import { eventNames } from "../clerk/events.ts";
import { messageId } from "../clerk/message-id.ts";
import { sample } from "../clerk/samples.ts";
import type { SentJson } from "./types.ts";

export interface SendOptions {
  /** The webhook endpoint, as this machine reaches it. */
  webhookUrl: () => string;
  /** The signing key: the first of the secrets in use. */
  key: () => Buffer | undefined;
}

export type SendSample = (event: string, data?: Record<string, unknown>) => Promise<SentJson | undefined>;

/** Resolves with undefined when Clerk has no such event. */
export function createSend({ webhookUrl, key }: SendOptions): SendSample {
  return async (name, data) => {
    const known = eventNames.find((event) => event === name);
    if (!known) return undefined;
    // A person typed the data, so it may have any shape.
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
    // Not through HTTP_PROXY: a proxy does not reach this machine's loopback address.
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
