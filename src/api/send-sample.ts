// Sends a sample event to the webhook endpoint as Svix would: signed with the server's own secret, over a real socket.

import { eventNames } from "../clerk/events.ts";
import { messageId } from "../clerk/message-id.ts";
import { sample } from "../clerk/samples.ts";
import { postEvent } from "../clerk/signed-message.ts";
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
    const event = sample(known, data ? { overrides: { data } as never } : {});
    const id = messageId(Date.now());
    const { status } = await postEvent(webhookUrl(), event, {
      id,
      key: key() ?? Buffer.alloc(0),
      userAgent: "bellhop-inspector",
    });
    return { id, status };
  };
}
