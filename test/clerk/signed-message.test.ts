import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";

import { Webhook } from "svix";

import { messageId } from "../../src/clerk/message-id.ts";
import { signedHeaders } from "../../src/clerk/signed-message.ts";

test("svix verifies the headers, and refuses them with another body or key", () => {
  const key = randomBytes(24);
  const body = JSON.stringify({ type: "user.created", data: { first_name: "Zoë 🎉" } });
  const headers = signedHeaders(body, { id: messageId(Date.now()), key });
  const svix = new Webhook(key.toString("base64"));
  expect(() => svix.verify(body, headers)).not.toThrow();
  expect(() => svix.verify(`${body} `, headers)).toThrow();
  expect(() => new Webhook(randomBytes(24).toString("base64")).verify(body, headers)).toThrow();
});
