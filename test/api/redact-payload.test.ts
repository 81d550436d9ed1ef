import { expect, test } from "bun:test";

import { redact } from "../../src/api/redact-payload.ts";
import { eventNames } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { seeded } from "../random.ts";

const pathsOf = (event: object) => redact(JSON.stringify(event)).paths;

test("a payload without secrets is unchanged to the byte", () => {
  const text = '{ "type":"user.created",\n "data": {"id": "user_1", "big": 12345678901234567890, "n": 1.0} }';
  expect(redact(text)).toEqual({ text, paths: [] });
});

test.each(["email.created", "sms.created"] as const)("the one-time code of %s is redacted", (name) => {
  const event = sample(name);
  const code = event.data.data?.otp_code as string;
  const { text, paths } = redact(JSON.stringify(event));
  expect(code).toMatch(/^\d{6}$/);
  expect(text).not.toContain(code);
  expect(paths).toContain("data.data.otp_code");
  expect(JSON.parse(text)).toMatchObject({ type: name, data: { id: event.data.id, data: { otp_code: "•••" } } });
});

test("private metadata is redacted as a whole at every depth, unless it is empty", () => {
  const event = sample("user.created", {
    overrides: { data: { private_metadata: { ssn: "078-05-1120" }, public_metadata: { plan: "pro" } } },
  });
  const { text, paths } = redact(JSON.stringify(event));
  expect(paths).toEqual(["data.private_metadata"]);
  expect(text).not.toContain("078-05");
  expect(text).toContain('"plan":"pro"');
  expect(pathsOf({ data: { organization: { private_metadata: { a: 1 } }, private_metadata: {} } })).toEqual([
    "data.organization.private_metadata",
  ]);
});

test.each([
  ["otp_code", "123456"],
  ["code", 123456],
  ["verification_code", "12"],
  ["backup_codes", ["a", "b"]],
  ["totp_secret", "JBSWY3DPEHPK3PXP"],
  ["token", "abc"],
  ["session_token", "abc"],
  ["access_token", "abc"],
  ["ticket", "abc"],
  ["client_secret", "abc"],
  ["password", "abc"],
  ["password_digest", "abc"],
  ["api_key", "abc"],
  ["note", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"],
  ["note", "the key is sk_live_4eC39HqLyjWDarjtT1zdp7dc"],
  ["note", "whsec_dGhpcyBpcyBhIHNlY3JldA=="],
  ["url", "https://clerk.example.com/v1/verify?__clerk_ticket=abc"],
  ["url", "https://example.com/reset?a=1&token=abc"],
])("%s: %p is redacted", (name, value) => {
  expect(pathsOf({ data: { deep: [{ [name]: value }] } })).toEqual([`data.deep.0.${name}`]);
});

test.each([
  ["country_code", "CH"],
  ["postal_code", "8001"],
  ["error_code", "expired"],
  ["password_enabled", true],
  ["code", null],
  ["failed_reason", { code: "card_declined", decline_code: "insufficient_funds" }],
  ["token", ""],
  ["two_factor_enabled", false],
  ["strategy", "email_code"],
  ["backup_code_enabled", true],
  ["id", "sess_2abc"],
  ["subject", "Hello"],
  ["url", "https://example.com/?page=2"],
])("%s: %p is not redacted", (name, value) => {
  expect(pathsOf({ type: "user.created", data: { [name]: value } })).toEqual([]);
});

test("in samples of Clerk's other events only fields named like secrets are redacted", () => {
  for (const name of eventNames.filter((event) => !/^(email|sms)\./.test(event)))
    // Some fields of a sample are random.
    for (let seed = 0; seed < 20; seed += 1)
      for (const path of pathsOf(sample(name, { random: seeded(seed) })))
        expect(path).toMatch(/metadata|nonce|token|ticket|url/);
});

test("redacts deep JSON, keys like __proto__ and text that is not JSON", () => {
  expect(redact("otp 123456")).toEqual({ text: '"•••"', paths: [""] });
  expect(redact('{"__proto__":{"token":"abc"}}')).toEqual({
    text: '{"__proto__":{"token":"•••"}}',
    paths: ["__proto__.token"],
  });
  const deep = `${'{"a":'.repeat(5_000)}{"token":"abc"}${"}".repeat(5_000)}`;
  expect(redact(deep).text).not.toContain("abc");
  for (const text of ["null", "1", '"x"', "[]"]) expect(redact(text)).toEqual({ text, paths: [] });
});
