// Sends events to the webhook endpoint as Svix would, signed with the server's own secret, over a real socket: samples,
// and stored events that a person has edited.

import { eventNames } from "../clerk/events.ts";
import { messageId } from "../clerk/message-id.ts";
import { sample } from "../clerk/samples.ts";
import { postEvent, signedHeaders } from "../clerk/signed-message.ts";
import { EDITED_PREFIX } from "./edited.ts";
import type { SentJson } from "./types.ts";

export interface SendOptions {
  /** The webhook endpoint, as this machine reaches it. */
  webhookUrl: () => string;
  /** The signing key: the first of the secrets in use. */
  key: () => Buffer | undefined;
}

export interface Send {
  /** Resolves with undefined when Clerk has no such event. */
  sample(event: string, data?: Record<string, unknown>): Promise<SentJson | undefined>;
  /** Sends an edited event under a new id, which marks it as edited. */
  edited(event: object, original: string): Promise<SentJson>;
  /** A command that sends these bytes under a new id. Its signature is valid for five minutes. */
  curl(body: string): string;
}

export function createSend({ webhookUrl, key }: SendOptions): Send {
  const signingKey = () => key() ?? Buffer.alloc(0);

  async function post(event: object, id: string, userAgent: string): Promise<SentJson> {
    const { status } = await postEvent(webhookUrl(), event, { id, key: signingKey(), userAgent });
    return { id, status };
  }

  return {
    async sample(name, data) {
      const known = eventNames.find((event) => event === name);
      if (!known) return undefined;
      // A person typed the data, so it may have any shape.
      const event = sample(known, data ? { overrides: { data } as never } : {});
      return await post(event, messageId(Date.now()), "bellhop-inspector");
    },
    edited: (event, original) =>
      post(event, messageId(Date.now()).replace("msg_", EDITED_PREFIX), `bellhop-inspector (edited from ${original})`),
    curl(body) {
      const headers = Object.entries(signedHeaders(body, { id: messageId(Date.now()), key: signingKey() }));
      const lines = [
        `curl ${quote(webhookUrl())}`,
        `-H 'content-type: application/json'`,
        ...headers.map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`),
        `--data-binary ${quote(body)}`,
      ];
      return lines.join(" \\\n  ");
    },
  };
}

/** As one word of a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
