// `verify` and `parseSecrets`: the official vectors, then one test per rule. Signatures are plain HMACs;
// verify.differential.test.ts compares with other implementations.

import { describe, expect, test } from "bun:test";
import { createHmac, randomBytes } from "node:crypto";

import { parseSecrets, SecretError, verify } from "../../src/receive/verify.ts";
import { bodyOf, digestOf, vectors } from "./vectors.ts";

const NOW = 1_614_265_330;
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY = Buffer.from('{"type":"user.created","object":"event","data":{"id":"user_1"}}');

interface RequestParts {
  id?: string;
  timestamp?: string;
  body?: Uint8Array;
  /** The sender's secret. */
  secret?: string;
  /** The server's secrets. */
  secrets?: string;
  now?: number;
  /** Changes the headers after signing. */
  change?: (headers: Record<string, string>) => Record<string, string>;
}

function digest(id: string, timestamp: string, body: Uint8Array, secret = SECRET) {
  return digestOf(secret, id, timestamp, body);
}

/** The verdict on a valid request, with the given parts replaced. */
function send(parts: RequestParts = {}) {
  const { id = "msg_1", timestamp = `${NOW}`, body = BODY, secret, secrets, now = NOW, change } = parts;
  const signature = `v1,${digest(id.trim(), timestamp.trim(), body, secret)}`;
  const headers = { "svix-id": id, "svix-timestamp": timestamp, "svix-signature": signature };
  return verify({
    headers: new Headers(change?.(headers) ?? headers),
    body,
    keys: parseSecrets(secrets ?? SECRET),
    now,
  });
}

/** The verdict on a valid request with this signature, in which `GOOD` is replaced with the right digest. */
const sendSignature = (signature: string) =>
  send({
    change: (headers) => ({
      ...headers,
      "svix-signature": signature.replaceAll("GOOD", digest("msg_1", `${NOW}`, BODY)),
    }),
  });

/** The three headers under the other family's names. */
const asWebhook = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.replace("svix-", "webhook-"), value]));

const without = (removed: string, headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => name !== removed));

function refusalOf(secret: string): SecretError {
  try {
    parseSecrets(secret);
  } catch (error) {
    if (error instanceof SecretError) return error;
    throw error;
  }
  throw new Error("the secret was accepted");
}

const OK = { ok: true, id: "msg_1", timestamp: NOW } as const;

describe("the official vectors", () => {
  test("are complete", () => expect(vectors).toHaveLength(61));

  for (const vector of vectors) {
    test(`${vector.name} → ${vector.expect}`, () => {
      if (vector.expect === "bad_secret") {
        expect(() => parseSecrets(vector.secret)).toThrow(SecretError);
        return;
      }
      const verdict = verify({
        headers: new Headers(vector.headers),
        body: bodyOf(vector),
        keys: parseSecrets(vector.secret),
        now: vector.now,
      });
      expect(verdict.ok ? "ok" : verdict.code).toBe(vector.expect);
    });
  }
});

describe("the body", () => {
  test("a signed request is accepted, with its id and timestamp", () => {
    expect(send()).toEqual(OK);
  });

  test("a byte order mark is part of the signed body", () => {
    const marked = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), BODY]);
    expect(send({ body: marked })).toEqual(OK);
    const stripped = digest("msg_1", `${NOW}`, BODY);
    expect(
      send({ body: marked, change: (headers) => ({ ...headers, "svix-signature": `v1,${stripped}` }) }),
    ).toMatchObject({ code: "no_match" });
  });

  test("a body with invalid UTF-8 is verified as bytes", () => {
    const broken = Buffer.from([0x7b, 0xff, 0xc3, 0x28, 0x7d]);
    expect(send({ body: broken })).toEqual(OK);
    const replaced = digest("msg_1", `${NOW}`, Buffer.from(broken.toString("utf8")));
    expect(
      send({ body: broken, change: (headers) => ({ ...headers, "svix-signature": `v1,${replaced}` }) }),
    ).toMatchObject({ code: "no_match" });
  });

  test("an empty body is accepted when it is signed", () => {
    expect(send({ body: new Uint8Array() })).toEqual(OK);
  });

  test("a body that is a view of a larger buffer is verified without the rest of the buffer", () => {
    const page = Buffer.concat([Buffer.from("before"), BODY, Buffer.from("after")]);
    expect(send({ body: page.subarray(6, 6 + BODY.length) })).toEqual(OK);
  });

  test("a change of any single bit of the body is refused", () => {
    const signature = `v1,${digest("msg_1", `${NOW}`, BODY)}`;
    for (let bit = 0; bit < BODY.length * 8; bit++) {
      const body = Buffer.from(BODY);
      body[bit >> 3]! ^= 1 << (bit & 7);
      const verdict = send({ body, change: (headers) => ({ ...headers, "svix-signature": signature }) });
      expect(verdict).toMatchObject({ code: "no_match" });
    }
  });
});

describe("the headers", () => {
  test("webhook-* headers are used when there are no svix-* headers", () => {
    expect(send({ change: asWebhook })).toEqual(OK);
  });

  test("header names are case-insensitive", () => {
    expect(
      send({
        change: (headers) => ({
          "SVIX-ID": headers["svix-id"]!,
          "Svix-Timestamp": headers["svix-timestamp"]!,
          "svix-SIGNATURE": headers["svix-signature"]!,
        }),
      }),
    ).toEqual(OK);
  });

  for (const moved of ["id", "timestamp", "signature"]) {
    test(`svix-* headers with webhook-${moved} in place of svix-${moved} are missing_headers`, () => {
      const verdict = send({
        change: ({ [`svix-${moved}`]: value, ...rest }) => ({ ...rest, [`webhook-${moved}`]: value! }),
      });
      expect(verdict).toEqual({ ok: false, code: "missing_headers", id: "msg_1" });
    });
  }

  test("complete webhook-* headers are used when the svix-* headers are incomplete", () => {
    expect(send({ change: (headers) => ({ ...asWebhook(headers), "svix-id": "msg_of_a_proxy" }) })).toEqual(OK);
  });

  test("complete svix-* headers take precedence over webhook-* headers", () => {
    const forged = { "webhook-id": "msg_2", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA" };
    expect(send({ change: (headers) => ({ ...headers, ...forged }) })).toEqual(OK);
    expect(
      send({ change: (headers) => ({ ...asWebhook(headers), ...headers, "svix-signature": "v1,AAAA" }) }),
    ).toMatchObject({ code: "no_match" });
  });

  test("white space around a value is trimmed, even where Headers keeps it", () => {
    for (const space of ["  ", "\t", "\u00a0", "\v\f"])
      expect(
        send({
          change: (headers) =>
            Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, space + value + space])),
        }),
      ).toEqual(OK);
  });

  for (const name of ["svix-id", "svix-timestamp", "svix-signature"]) {
    test(`a missing or blank ${name} is missing_headers`, () => {
      expect(send({ change: (headers) => without(name, headers) })).toMatchObject({ code: "missing_headers" });
      for (const blank of ["", "   ", "\t", "\u00a0"]) {
        const verdict = send({ change: (headers) => ({ ...headers, [name]: blank }) });
        expect(verdict).toMatchObject({ code: "missing_headers" });
      }
    });
  }

  test("a refusal has the claimed id, from either family, or null", () => {
    expect(send({ change: () => ({ "svix-id": " msg_9 " }) })).toMatchObject({ ok: false, id: "msg_9" });
    expect(send({ change: () => ({ "svix-id": " ", "webhook-id": "msg_8" }) })).toMatchObject({ id: "msg_8" });
    expect(send({ change: () => ({}) })).toEqual({ ok: false, code: "missing_headers", id: null });
    expect(sendSignature("v1,AAAA")).toMatchObject({ ok: false, id: "msg_1" });
  });
});

describe("the id", () => {
  test("an id with a dot is refused, even when signed, because the signed text would be ambiguous", () => {
    for (const id of ["msg.1", ".", "msg_1."]) expect(send({ id })).toEqual({ ok: false, code: "bad_id", id });
  });

  test("an id of 256 characters is accepted and one of 257 is refused", () => {
    expect(send({ id: "m".repeat(256) })).toMatchObject({ ok: true });
    expect(send({ id: "m".repeat(257) })).toMatchObject({ code: "bad_id" });
  });

  test("an id with any printable ASCII character but the dot is accepted", () => {
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).filter((c) => c !== ".");
    const id = `m${printable.join("")}m`;
    expect(send({ id })).toMatchObject({ ok: true, id });
  });

  test("an id with a control or non-ASCII character is refused, even when signed", () => {
    for (const odd of ["\t", "\x01", "\x1f", "\x7f", "\x80", "\u00a0", "é", "ÿ"])
      expect(send({ id: `m${odd}m` })).toMatchObject({ code: "bad_id" });
  });
});

describe("the timestamp", () => {
  const invalid = {
    "of 13 digits (milliseconds)": `${NOW}000`,
    "with a fraction": `${NOW}.0`,
    "with an exponent": "1.6e9",
    "with a plus sign": `+${NOW}`,
    "with a minus sign": `-${NOW}`,
    "in hex": "0x60380d32",
    "with white space inside": `${NOW} 1`,
    "with a tab inside": `16142\t65330`,
    "followed by letters": `${NOW}s`,
    "with thousands separators": "1,614,265,330",
    "in superscript digits": "¹²³",
    "that was sent twice": `${NOW}, ${NOW}`,
    "that is not a number": "NaN",
  };
  for (const [name, timestamp] of Object.entries(invalid))
    test(`a timestamp ${name} is refused, even when signed`, () => {
      expect(send({ timestamp })).toEqual({ ok: false, code: "bad_timestamp", id: "msg_1" });
    });

  test("a timestamp of 12 digits is read as seconds", () => {
    expect(send({ timestamp: "999999999999" })).toMatchObject({ code: "too_new", skewSeconds: 999_999_999_999 - NOW });
  });

  test("leading zeros are part of the signed timestamp", () => {
    expect(send({ timestamp: `00${NOW}` })).toEqual(OK);
    const written = digest("msg_1", `${NOW}`, BODY);
    expect(
      send({ timestamp: `00${NOW}`, change: (headers) => ({ ...headers, "svix-signature": `v1,${written}` }) }),
    ).toMatchObject({ code: "no_match" });
  });

  test("a timestamp 300 s in the past or future is accepted", () => {
    expect(send({ timestamp: `${NOW - 300}` })).toMatchObject({ ok: true, timestamp: NOW - 300 });
    expect(send({ timestamp: `${NOW + 300}` })).toMatchObject({ ok: true, timestamp: NOW + 300 });
  });

  test("a timestamp 301 s in the past or future is refused, with the difference", () => {
    const refused = { ok: false, id: "msg_1" } as const;
    expect(send({ timestamp: `${NOW - 301}` })).toEqual({ ...refused, code: "too_old", skewSeconds: -301 });
    expect(send({ timestamp: `${NOW + 301}` })).toEqual({ ...refused, code: "too_new", skewSeconds: 301 });
  });

  test("fractions of a second of the server's clock do not count", () => {
    const now = NOW + 0.999;
    expect(send({ now, timestamp: `${NOW - 300}` })).toMatchObject({ ok: true });
    expect(send({ now, timestamp: `${NOW + 301}` })).toMatchObject({ code: "too_new", skewSeconds: 301 });
  });

  test("an expired request with a wrong secret is no_match, because the signature is checked first", () => {
    for (const timestamp of [`${NOW - 301}`, `${NOW + 301}`])
      expect(send({ timestamp, secret: OTHER_SECRET })).toEqual({ ok: false, code: "no_match", id: "msg_1" });
  });
});

describe("the signature", () => {
  const accepted = {
    "one entry": "v1,GOOD",
    "a wrong entry before the right one": `v1,${"A".repeat(43)}= v1,GOOD`,
    "a wrong entry after the right one": `v1,GOOD v1,${"A".repeat(43)}=`,
    "unknown versions before the right one": "v1a,GOOD v2,GOOD junk v1,GOOD",
    "several spaces between entries": "v1,AAAA   v1,GOOD",
  };
  for (const [name, signature] of Object.entries(accepted))
    test(`a signature with ${name} is accepted`, () => {
      expect(sendSignature(signature)).toEqual(OK);
    });

  const refused = {
    "the digest under v1a": "v1a,GOOD",
    "the digest under v2": "v2,GOOD",
    "the digest under V1": "V1,GOOD",
    "the digest under v1 with a space": "v1, GOOD",
    "the digest without a version": "GOOD",
    "no comma": "v1GOOD",
    "a comma after the digest": "v1,GOOD,",
    "a second value after the digest": "v1,GOOD,GOOD",
    "more padding": "v1,GOOD=",
    "two digests in one entry": "v1,GOODGOOD",
    "entries separated by a tab": "v1,GOOD\tv1,GOOD",
    "entries separated by a comma": "v1,GOOD,v1,GOOD",
    "an empty entry": "v1,",
  };
  for (const [name, signature] of Object.entries(refused))
    test(`a signature with ${name} does not match`, () => {
      expect(sendSignature(signature)).toEqual({ ok: false, code: "no_match", id: "msg_1" });
    });

  test("a digest in a non-canonical base64 encoding does not match", () => {
    const good = digest("msg_1", `${NOW}`, BODY);
    const bytes = Buffer.from(good, "base64");
    // The last character before the padding has two unused bits.
    const sameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
      .split("")
      .map((last) => `${good.slice(0, 42)}${last}=`)
      .filter((text) => text !== good && Buffer.from(text, "base64").equals(bytes));
    expect(sameBytes).toHaveLength(3);
    for (const text of [...sameBytes, good.slice(0, -1), bytes.toString("hex"), good.toLowerCase()])
      expect(sendSignature(`v1,${text}`)).toMatchObject({ code: "no_match" });
  });

  test("a signature with non-ASCII characters does not match and does not throw, even at the right length", () => {
    const good = digest("msg_1", `${NOW}`, BODY);
    for (const text of [`${good.slice(0, 42)}é=`, `é${good.slice(1)}`, "ÿ".repeat(44), "é".repeat(22)])
      expect(sendSignature(`v1,${text}`)).toEqual({ ok: false, code: "no_match", id: "msg_1" });
  });

  test("a header of 10,000 entries takes milliseconds", () => {
    const wrong = Array.from({ length: 10_000 }, () => `v1,${randomBytes(32).toString("base64")}`).join(" ");
    const began = performance.now();
    expect(sendSignature(wrong)).toMatchObject({ code: "no_match" });
    expect(sendSignature(`${wrong} v1,GOOD`)).toEqual(OK);
    expect(sendSignature("v1, ".repeat(10_000))).toMatchObject({ code: "no_match" });
    // It takes 10 to 20 ms; the limit leaves room for a busy machine.
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

describe("the secret", () => {
  const base64 = SECRET.slice("whsec_".length);

  test("during a rotation, requests signed with either secret are accepted", () => {
    const secrets = `${OTHER_SECRET},${SECRET}`;
    expect(send({ secrets })).toEqual(OK);
    expect(send({ secrets, secret: OTHER_SECRET })).toEqual(OK);
    expect(send({ secrets, secret: "whsec_plJ3nmyCDGBKInavdOK15jsl" })).toMatchObject({ code: "no_match" });
  });

  test("a request signed with a removed secret does not match", () => {
    expect(send({ secret: OTHER_SECRET })).toEqual({ ok: false, code: "no_match", id: "msg_1" });
  });

  test("without a secret, no request matches", () => {
    const headers = new Headers({
      "svix-id": "msg_1",
      "svix-timestamp": `${NOW}`,
      "svix-signature": `v1,${createHmac("sha256", "").update(`msg_1.${NOW}.`).update(BODY).digest("base64")}`,
    });
    expect(verify({ headers, body: BODY, keys: [], now: NOW })).toMatchObject({ code: "no_match" });
  });

  test("the prefix is optional", () => {
    expect(parseSecrets(base64)).toEqual(parseSecrets(SECRET));
  });

  test("the padding is optional", () => {
    for (const bytes of [24, 25, 26, 64]) {
      const key = randomBytes(bytes);
      const padded = key.toString("base64");
      expect(parseSecrets(`whsec_${padded}`)).toEqual([key]);
      expect(parseSecrets(`whsec_${padded.replace(/=+$/, "")}`)).toEqual([key]);
    }
  });

  test("white space around each secret is trimmed", () => {
    expect(parseSecrets(` \n${SECRET}\t\r\n`)).toEqual(parseSecrets(SECRET));
    expect(parseSecrets(`${SECRET} , ${OTHER_SECRET}\n`)).toEqual(parseSecrets(`${SECRET},${OTHER_SECRET}`));
  });

  test("the length of a secret is not checked", () => {
    expect(parseSecrets("whsec_QQ")).toEqual([Buffer.from("A")]);
  });

  const refused: [name: string, secret: string, expected: RegExp][] = [
    ["in double quotes", `"${SECRET}"`, /quotes/],
    ["in single quotes", `'${SECRET}'`, /quotes/],
    ["in backticks", `\`${SECRET}\``, /quotes/],
    ["with a quote at its end only", `${SECRET}"`, /quotes/],
    ["that is a live API key", "sk_live_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", /begins with sk_live_.*API key.*whsec_/],
    ["that is a test API key", "sk_test_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", /begins with sk_test_.*API key.*whsec_/],
    ["that is a publishable key", "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k", /begins with pk_test_.*API key.*whsec_/],
    ["that is a whole line of .env", `CLERK_WEBHOOK_SIGNING_SECRET=${SECRET}`, /base64/],
    ["with the prefix twice", `whsec_${SECRET}`, /base64/],
    ["with white space inside", `whsec_${base64.slice(0, 9)} ${base64.slice(9)}`, /base64/],
    ["in base64url", "whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7o_", /base64/],
    ["with padding in the middle", "whsec_MfKQ9r8G==KYqrTwjUPD8ILPZIo2LaLaSw", /base64/],
    ["with too much padding", `${SECRET}===`, /base64/],
    ["with a non-ASCII character", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSé", /base64/],
    ["that is truncated", `${SECRET}A`, /one character/],
    ["that is a single character", "whsec_Q", /one character/],
    ["that is empty", "", /is empty/],
    ["that is blank", " \t\n", /is empty/],
    ["that is the prefix only", "whsec_", /is empty/],
    ["that is padding only", "whsec_==", /base64/],
    ["missing after a comma", `${SECRET},`, /is empty/],
    ["in quotes beside a good one", `${SECRET},"${OTHER_SECRET}"`, /quotes/],
  ];
  for (const [name, secret, expected] of refused)
    test(`a secret ${name} is refused with an error that does not contain it`, () => {
      const { message, stack } = refusalOf(secret);
      expect(message).toMatch(expected);
      const text = `${message}\n${stack}`;
      // Apart from the prefixes, no six characters of the secret may be in the text.
      for (const part of secret.split(/whsec_|[sp]k_(?:live|test)_|[^\w+/]+/))
        for (let i = 0; i + 6 <= part.length; i++) expect(text).not.toContain(part.slice(i, i + 6));
    });
});
