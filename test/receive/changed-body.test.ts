// A body that a proxy has written again is recognised, so that the secret is not blamed.

import { expect, test } from "bun:test";

import { signedHeaders } from "../../src/clerk/signed-message.ts";
import { findChange } from "../../src/receive/changed-body.ts";
import { parseSecrets, readSignedHeaders } from "../../src/receive/verify.ts";
import { SECRET, serverWith, signed, until } from "../harness.ts";

const keys = parseSecrets(SECRET);
const EVENT = { data: { id: "user_1", name: 'Zoë "Z" \\ / 😀', list: [1, 2, { a: null }] }, object: "event" };
const ORIGINAL = JSON.stringify(EVENT);
const ascii = (text: string) =>
  text.replaceAll(/[\u0080-\uFFFF]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

function changeOf(received: string, original = ORIGINAL, secret = keys[0]!) {
  const headers = new Headers(signedHeaders(original, { id: "msg_1", key: secret, now: 1_000 }));
  const read = readSignedHeaders(headers);
  if (!read.ok) throw new Error(read.code);
  return findChange(read, new TextEncoder().encode(received), keys);
}

test.each([
  [`${ORIGINAL}\n`, "white space was added at its beginning or end"],
  [`\uFEFF${ORIGINAL}`, "white space was added at its beginning or end"],
  [JSON.stringify(EVENT, null, 2), "white space was added between its JSON tokens"],
  // As Python's json.dumps writes it.
  [ascii(ORIGINAL).replaceAll('":', '": '), "white space was added, and characters were escaped"],
  [ORIGINAL.replaceAll("/", "\\/"), "white space was added, and characters were escaped"],
])("%j is recognised", (received, change) => {
  expect(changeOf(received)).toBe(change as never);
});

test("a body whose escapes were removed is recognised", () => {
  expect(changeOf(ORIGINAL, ascii(ORIGINAL))).toBe("escaped characters were replaced by plain ones");
});

test("another secret, other content and large bodies are not", () => {
  const other = Buffer.from("another secret of 24 byte");
  for (const text of [ORIGINAL, `${ORIGINAL} `]) expect(changeOf(text, ORIGINAL, other)).toBeUndefined();
  expect(changeOf(ORIGINAL.replace("user_1", "user_2"))).toBeUndefined();
  expect(changeOf('not json at all " \\')).toBeUndefined();
  expect(changeOf(`${ORIGINAL}${" ".repeat(70_000)}`)).toBeUndefined();
});

test("a text that is nothing but quotes and backslashes is searched in linear time", () => {
  const start = performance.now();
  changeOf('"\\'.repeat(30_000));
  changeOf('\\u00ff"'.repeat(9_000));
  expect(performance.now() - start).toBeLessThan(2_000);
});

test("the log and the list of refusals name the change", async () => {
  await using server = await serverWith({});
  const event = { type: "user.created", object: "event", data: { id: "user_1" } };
  const headers = signed(JSON.stringify(event));
  const response = await fetch(server.url, { method: "POST", headers, body: JSON.stringify(event, null, 2) });
  expect(response.status).toBe(400);
  const line = await until("the log line", () => server.lines.find(({ code }) => code === "no_match"));
  expect(String(line["msg"])).toContain("white space was added between its JSON tokens");
  expect(server.receiver.refused()).toMatchObject([
    { code: "no_match", change: expect.stringContaining("white space") },
  ]);
});
