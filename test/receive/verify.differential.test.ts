// Compares `verify` with `svix` and with `verifyWebhook` of `@clerk/backend` on randomly mutated signed requests. Where
// the verdicts differ, one of RULES must explain it, and every rule must be needed in every run. Both libraries hash with
// `standardwebhooks`, so only the official vectors would show a bug in it.
//
//     VERIFY_SEED=123 VERIFY_RUNS=1000000 bun test test/receive/verify.differential.test.ts
//
// With fewer than 20,000 runs, some rule may not be needed.

import { afterAll, beforeAll, expect, setSystemTime, test } from "bun:test";
import { isUtf8 } from "node:buffer";

import { verifyWebhook } from "@clerk/backend/webhooks";
import fc from "fast-check";
import { Webhook } from "svix";

import { type Key, parseSecrets, SecretError, type SignatureCode, verify } from "../../src/receive/verify.ts";
import { digestOf } from "./vectors.ts";

const RUNS = Number(Bun.env["VERIFY_RUNS"] ?? 100_000);
const SEED = Number(Bun.env["VERIFY_SEED"] ?? crypto.getRandomValues(new Int32Array(1))[0]);

// The libraries read Date.now() and drop the fraction. Late in a second, to test that `verify` drops it as well.
const NOW_MS = 1_614_265_330_987;
const NOW = Math.floor(NOW_MS / 1000);

beforeAll(() => void setSystemTime(new Date(NOW_MS)));
afterAll(() => void setSystemTime());

// ── The rules ────────────────────────────────────────────────────────────────────────────────────────────────────

type Library = "svix" | "clerk";
type Verdict = "ok" | "bad_secret" | SignatureCode;

interface Rule {
  rule: string;
  /** `stricter`: `verify` refuses a request that the library accepts. `looser`: the reverse. */
  kind: "stricter" | "looser";
  than: readonly Library[];
  /** The verdicts of `verify` that the rule explains. */
  verdicts: readonly Verdict[];
  /** As narrow as possible: differences in a request that it applies to are not tested. */
  applies: (request: ParsedRequest) => boolean;
}

/** A request as the rules need it. */
interface ParsedRequest {
  svix: Family;
  webhook: Family;
  /** The trimmed values of the family that is used; all blank if neither is complete. */
  used: Record<Part, string>;
  body: Buffer;
  secrets: string[];
}

type Part = (typeof PARTS)[number];
const PARTS = ["id", "timestamp", "signature"] as const;
/** `null` for a missing header. */
type Family = Record<Part, string | null>;

const isComplete = (family: Family) => PARTS.every((part) => family[part]?.trim());
const base64Of = (secret: string) => secret.trim().replace(/^whsec_/, "");

const BOTH = ["svix", "clerk"] as const;
const SVIX = ["svix"] as const;
const CLERK = ["clerk"] as const;

const hasLeadingZero = ({ used }: ParsedRequest) => /^0\d+$/.test(used.timestamp);
/** Incomplete svix-* headers, of which at least one differs from the complete webhook-* headers. */
const isConflictingMix = ({ svix, webhook }: ParsedRequest) =>
  !isComplete(svix) && isComplete(webhook) && PARTS.some((part) => svix[part] !== null && svix[part] !== webhook[part]);
const isPadded = (value: string | null) => value !== null && value !== value.trim();
const hasByteOrderMark = ({ body }: ParsedRequest) => body.subarray(0, 3).equals(BYTE_ORDER_MARK);
const isInvalidUtf8 = ({ body }: ParsedRequest) => !isUtf8(body);

const RULES: Rule[] = [
  // Headers
  {
    rule: "the three headers must belong to one family",
    kind: "stricter",
    than: SVIX,
    verdicts: ["missing_headers"],
    applies: ({ svix, webhook }) =>
      !isComplete(svix) && !isComplete(webhook) && PARTS.every((part) => (svix[part] ?? webhook[part])?.trim()),
  },
  {
    rule: "complete webhook-* headers are used, not a mix of them with incomplete svix-* headers",
    kind: "stricter",
    than: SVIX,
    // Any error in the value that the mix would have replaced.
    verdicts: ["no_match", "bad_id", "bad_timestamp", "too_old", "too_new"],
    applies: isConflictingMix,
  },
  {
    rule: "complete webhook-* headers are used, regardless of incomplete svix-* headers",
    kind: "looser",
    than: SVIX,
    verdicts: ["ok"],
    applies: isConflictingMix,
  },
  {
    rule: "webhook-* headers are used when svix-* headers are incomplete",
    kind: "looser",
    than: CLERK,
    verdicts: ["ok"],
    applies: ({ svix, webhook }) => !isComplete(svix) && isComplete(webhook),
  },
  {
    rule: "white space that Headers keeps is trimmed",
    kind: "looser",
    than: SVIX,
    verdicts: ["ok"],
    applies: ({ svix, webhook }) =>
      [isComplete(svix) ? svix : webhook].some(({ id, signature }) => isPadded(id) || isPadded(signature)),
  },
  {
    rule: "white space is trimmed from an id, even if it was signed",
    kind: "stricter",
    than: SVIX,
    verdicts: ["no_match"],
    applies: ({ svix, webhook }) => isPadded(isComplete(svix) ? svix.id : webhook.id),
  },
  {
    rule: "a blank id is missing",
    kind: "stricter",
    than: SVIX,
    verdicts: ["missing_headers"],
    applies: ({ svix, webhook }) => (svix.id ?? webhook.id)?.trim() === "",
  },

  // Id and timestamp
  {
    rule: "an id must not contain a dot",
    kind: "stricter",
    than: BOTH,
    verdicts: ["bad_id"],
    applies: ({ used }) => used.id.includes("."),
  },
  {
    rule: "an id has at most 256 characters",
    kind: "stricter",
    than: BOTH,
    verdicts: ["bad_id"],
    applies: ({ used }) => used.id.length > 256,
  },
  {
    rule: "an id is printable ASCII",
    kind: "stricter",
    than: BOTH,
    verdicts: ["bad_id"],
    applies: ({ used }) => /[^\x20-\x7e]/.test(used.id),
  },
  {
    rule: "a timestamp has one to twelve digits and nothing else",
    kind: "stricter",
    than: BOTH,
    verdicts: ["bad_timestamp"],
    applies: ({ used }) =>
      !/^\d{1,12}$/.test(used.timestamp) && Math.abs(Number.parseInt(used.timestamp, 10) - NOW) <= 300,
  },
  {
    rule: "the timestamp is signed as sent, not as parsed",
    kind: "stricter",
    than: BOTH,
    verdicts: ["no_match"],
    applies: hasLeadingZero,
  },
  {
    rule: "the timestamp is signed as sent",
    kind: "looser",
    than: BOTH,
    verdicts: ["ok"],
    applies: hasLeadingZero,
  },

  // Signature
  {
    rule: "an entry is exactly `v1,` and a digest",
    kind: "stricter",
    than: BOTH,
    verdicts: ["no_match"],
    applies: ({ used }) => used.signature.split(" ").some((entry) => /^v1,[A-Za-z0-9+/]{43}=,/.test(entry)),
  },

  // Body
  {
    rule: "the signature covers the bytes: an added byte order mark does not match",
    kind: "stricter",
    than: CLERK,
    verdicts: ["no_match"],
    applies: hasByteOrderMark,
  },
  {
    rule: "the signature covers the bytes: a signed byte order mark matches",
    kind: "looser",
    than: CLERK,
    verdicts: ["ok"],
    applies: hasByteOrderMark,
  },
  {
    rule: "the signature covers the bytes: invalid UTF-8 does not match its replacement character",
    kind: "stricter",
    than: BOTH,
    verdicts: ["no_match"],
    applies: isInvalidUtf8,
  },
  {
    rule: "the signature covers the bytes: signed invalid UTF-8 matches",
    kind: "looser",
    than: BOTH,
    verdicts: ["ok"],
    applies: isInvalidUtf8,
  },
  {
    rule: "verifying is not parsing: a signed body that is not a Clerk event is refused later, as not_an_event",
    kind: "looser",
    than: CLERK,
    verdicts: ["ok"],
    applies: ({ body }) => jsonOf(body) === null,
  },

  // Secrets. The libraries take one and are called once per secret, so rotation needs no rule.
  {
    rule: "white space around a secret is trimmed",
    kind: "looser",
    than: BOTH,
    verdicts: ["ok"],
    applies: ({ secrets }) => secrets.some(isPadded),
  },
  {
    rule: "the length of a secret is not checked",
    kind: "looser",
    than: BOTH,
    verdicts: ["ok"],
    applies: ({ secrets }) => secrets.some((secret) => base64Of(secret).length < 4),
  },
  {
    rule: "a secret whose length is impossible in base64 is refused",
    kind: "stricter",
    than: BOTH,
    verdicts: ["bad_secret"],
    applies: ({ secrets }) =>
      secrets.some((secret) => /^[A-Za-z0-9+/]+=*$/.test(base64Of(secret)) && base64Of(secret).length % 4 === 1),
  },
  {
    rule: "an invalid secret is refused, even next to a valid one",
    kind: "stricter",
    than: BOTH,
    verdicts: ["bad_secret"],
    applies: ({ secrets }) =>
      secrets.length > 1 && secrets.some((secret) => !/^[A-Za-z0-9+/]+={0,2}$/.test(base64Of(secret))),
  },
];

// ── The requests ─────────────────────────────────────────────────────────────────────────────────────────────────

/** A request under construction. Changes before signing are the sender's, later ones are tampering. */
interface Draft {
  id: string;
  timestamp: string;
  body: Buffer;
  /** The sender's secret. */
  secret: string;
  signature: string;
  headers: [name: string, value: string][];
  /** The server's secrets. */
  secrets: string[];
}

type Draw = (below: number) => number;
type Mutation = (draft: Draft, draw: Draw) => void;

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const REPLACEMENT = Buffer.from("\ufffd");
// 24, 32 and 25 bytes: none, one and two characters of padding.
const SECRETS = [
  "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  "whsec_ZGlmZmVyZW50aWFsLXRlc3Qtc2VjcmV0LTMyLWJ5dGU=",
  "whsec_ZGlmZmVyZW50aWFsLXRlc3QtMjUtYg==",
];
const OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const UNUSUAL_SPACES = ["\u00a0", "\v", "\f"];

/** Applied before or after signing. */
const CONTENT: Record<string, Mutation> = {
  "another character in the id": (draft, draw) =>
    (draft.id = splice(draft.id, draw, 1, one(["a", "Z", "0", "-", "_", " ", "~", "!"], draw))),
  "a dot in the id": (draft, draw) => (draft.id = splice(draft.id, draw, draw(2), ".")),
  "a long id": (draft, draw) => (draft.id = draft.id.padEnd(one([255, 256, 257, 300], draw), "x")),
  "a character in the id that is not printable ASCII": (draft, draw) =>
    (draft.id = splice(draft.id, draw, 0, one(["\t", "\x01", "\x7f", "\u00a0", "é", "ÿ"], draw))),
  "white space around the id": (draft, draw) =>
    (draft.id = one([`${one(UNUSUAL_SPACES, draw)}${draft.id}`, `${draft.id}${one(UNUSUAL_SPACES, draw)}`], draw)),
  "a blank id": (draft, draw) => (draft.id = one(UNUSUAL_SPACES, draw)),

  "a skew at the boundary": (draft, draw) =>
    (draft.timestamp = `${NOW + one([-302, -301, -300, -299, 299, 300, 301, 302], draw)}`),
  "any skew": (draft, draw) => (draft.timestamp = `${NOW + draw(1200) - 600}`),
  "leading zeros": (draft, draw) => (draft.timestamp = `${"0".repeat(1 + draw(3))}${draft.timestamp}`),
  "something after the timestamp": (draft, draw) =>
    (draft.timestamp += one([".0", ".5", "s", " 1", "\t1", "e0", ",", "n"], draw)),
  "a junk timestamp": (draft, draw) =>
    (draft.timestamp = one(
      [`+${NOW}`, `-${NOW}`, `0x${NOW.toString(16)}`, `${NOW_MS}`, "hello", "NaN", "Infinity", "1.6e9", "0", "²"],
      draw,
    )),
  "white space around the timestamp": (draft, draw) =>
    (draft.timestamp = one([`${one(UNUSUAL_SPACES, draw)}${draft.timestamp}`, `${draft.timestamp}\u00a0`], draw)),

  "a flipped bit in the body": (draft, draw) => {
    const body = Buffer.from(draft.body);
    if (body.length > 0) body[draw(body.length)]! ^= 1 << draw(8);
    draft.body = body;
  },
  "a byte order mark": (draft) => (draft.body = Buffer.concat([BYTE_ORDER_MARK, draft.body])),
  "invalid UTF-8": (draft, draw) => {
    const at = draw(draft.body.length + 1);
    const invalid = Buffer.from([one([0xff, 0xc3, 0x80, 0xed], draw)]);
    draft.body = Buffer.concat([draft.body.subarray(0, at), invalid, draft.body.subarray(at)]);
  },
  "invalid UTF-8 in place of U+FFFD": (draft) => {
    const at = draft.body.indexOf(REPLACEMENT);
    if (at < 0) return;
    draft.body = Buffer.concat([draft.body.subarray(0, at), Buffer.from([0xff]), draft.body.subarray(at + 3)]);
  },
  "a truncated body": (draft, draw) => (draft.body = draft.body.subarray(0, draw(draft.body.length + 1))),
  "a re-serialised body": (draft) => {
    const json = jsonOf(draft.body);
    if (json !== null) draft.body = Buffer.from(JSON.stringify(json));
  },
  "an empty body": (draft) => (draft.body = Buffer.alloc(0)),
  "a body that is not an event": (draft, draw) => (draft.body = Buffer.from(one(["null", "7", "[]", "{", "ok"], draw))),

  "a short secret": (draft, draw) => (draft.secrets = [(draft.secret = one(["whsec_QQ==", "whsec_QUI", "QQ"], draw))]),
};

const SIGNATURE: Record<string, Mutation> = {
  "more entries": (draft, draw) => {
    const digest = draft.signature.slice(3);
    const more = [`v1,${draft.signature.slice(4)}A`, `v2,${digest}`, `v1a,${digest}`, "v1", "v1,", "", "junk", "v1,é"];
    const entries = [draft.signature, ...Array.from({ length: 1 + draw(4) }, () => one(more, draw))];
    draft.signature = entries.splice(draw(entries.length)).concat(entries).join(" ");
  },
  "another version": (draft, draw) =>
    (draft.signature = draft.signature.replace("v1", one(["v2", "v1a", "V1", "v", "", "v1,v1", "v11"], draw))),
  "a truncated signature": (draft, draw) => (draft.signature = draft.signature.slice(0, draw(draft.signature.length))),
  "another character in the digest": (draft, draw) =>
    (draft.signature = splice(
      draft.signature,
      draw,
      1,
      one(["A", "z", "0", "+", "/", "=", ",", "é", "-", "\t"], draw),
      3,
    )),
  "other padding": (draft, draw) => (draft.signature = draft.signature.replace(/=$/, one(["", "==", "A", "A="], draw))),
  "something after the digest": (draft, draw) =>
    (draft.signature += one([",", ",AAAA", `,${draft.signature}`, `,x ${draft.signature}`, "\tx", ";"], draw)),
  "white space around the signature": (draft, draw) =>
    (draft.signature = one([`${one(UNUSUAL_SPACES, draw)}${draft.signature}`, `${draft.signature}\u00a0`], draw)),
  "another separator": (draft, draw) =>
    (draft.signature = [draft.signature, draft.signature].join(one(["\t", ",", "  ", "\u00a0", ", "], draw))),
};

const HEADERS: Record<string, Mutation> = {
  "names in another case": (draft, draw) =>
    rename(draft, (name) => one([name.toUpperCase(), name.replace(/^./, (c) => c.toUpperCase())], draw)),
  "webhook-* names": (draft) => rename(draft, asWebhook),
  "a mix of names": (draft, draw) => rename(draft, (name) => (draw(2) ? asWebhook(name) : name)),
  "both families": (draft) => draft.headers.push(...draft.headers.map(copyAsWebhook)),
  "both families, one svix-* header missing": (draft, draw) => {
    const copies = draft.headers.map(copyAsWebhook);
    draft.headers.splice(draw(draft.headers.length), 1);
    draft.headers.push(...copies);
  },
  "both families, one svix-* header blank": (draft, draw) => {
    const copies = draft.headers.map(copyAsWebhook);
    one(draft.headers, draw)[1] = one(["", "  ", "\u00a0"], draw);
    draft.headers.push(...copies);
  },
  "an unrelated svix-* header next to webhook-* headers": (draft, draw) => {
    const [name] = one(draft.headers, draw);
    rename(draft, asWebhook);
    draft.headers.push([name, one(["msg_of_a_proxy", `${NOW - 7}`, "v1,AAAA"], draw)]);
  },
  "unrelated webhook-* headers next to svix-* headers": (draft, draw) => {
    const copies = draft.headers.map(copyAsWebhook);
    one(copies, draw)[1] = one(["msg_of_a_proxy", `${NOW - 7}`, "v1,AAAA"], draw);
    draft.headers.push(...copies);
    if (draw(2)) draft.headers.splice(draw(3), 1);
  },
  "a missing header": (draft, draw) => void draft.headers.splice(draw(draft.headers.length), 1),
  "a blank header": (draft, draw) => (one(draft.headers, draw)[1] = one(["", " ", "\t", "\u00a0"], draw)),
  "a duplicate header": (draft, draw) => draft.headers.push(one(draft.headers, draw)),
};

const SECRET: Record<string, Mutation> = {
  "another secret": (draft) => (draft.secrets = [OTHER_SECRET]),
  "two secrets": (draft, draw) => draft.secrets.splice(draw(2), 0, OTHER_SECRET),
  "no prefix": (draft) => (draft.secrets = draft.secrets.map((secret) => secret.replace("whsec_", ""))),
  "no padding": (draft) => (draft.secrets = draft.secrets.map((secret) => secret.replace(/=+$/, ""))),
  "white space around a secret": (draft, draw) =>
    (draft.secrets = draft.secrets.map((secret) => one([` ${secret}`, `${secret}\n`, `\t${secret} `], draw))),
  "one character too many": (draft) =>
    (draft.secrets = draft.secrets.map((secret) => `${secret.replace(/=+$/, "").slice(0, 38)}A`)),
  "quotes around a secret": (draft) => (draft.secrets = draft.secrets.map((secret) => `"${secret}"`)),
  "an invalid secret next to a valid one": (draft, draw) =>
    draft.secrets.splice(draw(2), 0, one(["", "whsec_", "sk_test_AAAA", "a b", "whsec_AA-_", "whsec_A==="], draw)),
};

/** A compact description of a request, so that counterexamples are readable and can be shrunk. */
interface Recipe {
  /** `bytes` signs the raw bytes, `svix` signs with that library. They only differ on unusual requests. */
  signedBy: "bytes" | "svix";
  draw: number;
  mutations: { mutation: string; beforeSigning: boolean }[];
}

const recipes: fc.Arbitrary<Recipe> = fc.noBias(
  fc.record({
    signedBy: fc.constantFrom("bytes", "svix"),
    draw: fc.nat(),
    mutations: fc.array(
      fc
        .tuple(fc.constantFrom(...[CONTENT, SIGNATURE, HEADERS, SECRET].flatMap(Object.keys)), fc.boolean())
        .map(([mutation, early]) => ({ mutation, beforeSigning: early && mutation in CONTENT })),
      { maxLength: 3 },
    ),
  }),
);

function prepare({ signedBy, draw: seed, mutations }: Recipe): Draft {
  const draw = drawFrom(seed);
  const secret = one(SECRETS, draw);
  const draft: Draft = {
    id: `msg_${draw(2 ** 31).toString(36)}`,
    timestamp: `${NOW - draw(30)}`,
    body: Buffer.from(eventOf(draw)),
    secret,
    signature: "",
    headers: [],
    secrets: [secret],
  };
  const mutate = (table: Record<string, Mutation>, before = false) => {
    for (const { mutation, beforeSigning } of mutations) if (beforeSigning === before) table[mutation]?.(draft, draw);
  };
  mutate(CONTENT, true);
  draft.signature = sign(draft, signedBy);
  mutate(CONTENT);
  mutate(SIGNATURE);
  draft.headers = PARTS.map((part) => [`svix-${part}`, draft[part]]);
  mutate(HEADERS);
  mutate(SECRET);
  return draft;
}

function eventOf(draw: Draw): string {
  const name = one(["Zoë", "Ada", "李", "\ufffd", "🎉 \ufffd", 'O"Neil'], draw);
  const data = { id: `user_${draw(1000)}`, first_name: name, last_name: null, public_metadata: { plan: draw(9) } };
  const event = { type: one(["user.created", "user.updated"], draw), object: "event", data, timestamp: NOW_MS };
  return JSON.stringify(event, null, one([0, 1, 2], draw));
}

function sign({ id, timestamp, body, secret }: Draft, signedBy: Recipe["signedBy"]): string {
  if (signedBy === "bytes") return `v1,${digestOf(secret, id, timestamp, body)}`;
  const key = Buffer.from(base64Of(secret), "base64");
  return new Webhook(key, { format: "raw" }).sign(id, new Date(Number.parseInt(timestamp, 10) * 1000), body);
}

function drawFrom(seed: number): Draw {
  let state = seed >>> 0;
  // mulberry32: short, and each number depends on every bit of the seed.
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function one<T>(list: readonly T[], draw: Draw): T {
  return list[draw(list.length)]!;
}

/** Replaces `remove` characters at a random position from `from` on. */
function splice(text: string, draw: Draw, remove: number, inserted: string, from = 0): string {
  const at = from + draw(Math.max(1, text.length - from));
  return text.slice(0, at) + inserted + text.slice(at + remove);
}

const asWebhook = (name: string) => name.replace("svix-", "webhook-");
const copyAsWebhook = ([name, value]: [string, string]): [string, string] => [asWebhook(name), value];

function rename(draft: Draft, to: (name: string) => string): void {
  draft.headers = draft.headers.map(([name, value]) => [to(name), value]);
}

/** The parsed body; `null` if it is not JSON. */
function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return null;
  }
}

// ── The verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────

function verdictOf(headers: Headers, body: Buffer, secrets: string[]): Verdict {
  let keys: Key[];
  try {
    keys = parseSecrets(secrets.join(","));
  } catch (error) {
    if (error instanceof SecretError) return "bad_secret";
    throw error;
  }
  // Outside the try: `verify` must not throw on any request.
  const verdict = verify({ headers, body, keys, now: Date.now() / 1000 });
  return verdict.ok ? "ok" : verdict.code;
}

function svixAccepts(headers: Headers, body: Buffer, secrets: string[]): boolean {
  return secrets.some((secret) => {
    try {
      new Webhook(secret).verify(body, Object.fromEntries(headers));
      return true;
    } catch {
      return false;
    }
  });
}

async function clerkAccepts(headers: Headers, body: Buffer, secrets: string[]): Promise<boolean> {
  for (const signingSecret of secrets) {
    const request = new Request("http://localhost/api/webhooks", { method: "POST", headers, body });
    const accepted = await verifyWebhook(request, { signingSecret }).then(
      () => true,
      () => false,
    );
    if (accepted) return true;
  }
  return false;
}

function parse(headers: Headers, body: Buffer, secrets: string[]): ParsedRequest {
  const family = (prefix: string): Family => ({
    id: headers.get(`${prefix}-id`),
    timestamp: headers.get(`${prefix}-timestamp`),
    signature: headers.get(`${prefix}-signature`),
  });
  const svix = family("svix");
  const webhook = family("webhook");
  const complete = [svix, webhook].find(isComplete);
  const value = (part: Part) => complete?.[part]?.trim() ?? "";
  const used = { id: value("id"), timestamp: value("timestamp"), signature: value("signature") };
  return { svix, webhook, used, body, secrets };
}

/** Whether an entry is `v1,` and the digest of the received request with one of the secrets. */
function isSigned({ used, body, secrets }: ParsedRequest): boolean {
  const entries = used.signature.split(" ");
  return secrets.some((secret) => entries.includes(`v1,${digestOf(secret, used.id, used.timestamp, body)}`));
}

test(
  `verify differs from svix and Clerk only by documented rules, in ${RUNS.toLocaleString("en")} mutated requests`,
  async () => {
    const verdicts: Partial<Record<Verdict, number>> = {};
    const explained = new Map(RULES.map((rule) => [rule, 0]));
    const accepted = { bellhop: 0, svix: 0, clerk: 0 };

    const property = fc.asyncProperty(recipes, async (recipe) => {
      const { headers: list, body, secrets } = prepare(recipe);
      const headers = new Headers(list);
      const verdict = verdictOf(headers, body, secrets);
      const accepts: Record<Library, boolean> = {
        svix: svixAccepts(headers, body, secrets),
        clerk: await clerkAccepts(headers, body, secrets),
      };

      verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
      accepted.bellhop += Number(verdict === "ok");
      accepted.svix += Number(accepts.svix);
      accepted.clerk += Number(accepts.clerk);
      const fail = (reason: string) => {
        const request = JSON.stringify({ headers: list, body: body.toString("latin1"), secrets }, null, 2);
        throw new Error(`${reason}:\n${request}\nVerdict: ${verdict}; accepted by: ${JSON.stringify(accepts)}.
Reproduce: VERIFY_SEED=${SEED} VERIFY_RUNS=${RUNS} bun test test/receive/verify.differential.test.ts`);
      };

      const request = parse(headers, body, secrets);
      // No rule may explain these two.
      if (verdict === "ok" && !isSigned(request)) fail("accepted without a digest of these bytes");
      if (verdict === "no_match" && isSigned(request)) fail("no_match in spite of a digest of these bytes");
      if (recipe.mutations.length === 0 && !(verdict === "ok" && accepts.svix && accepts.clerk))
        fail("an unchanged request is not accepted by all three");

      for (const library of BOTH) {
        if ((verdict === "ok") === accepts[library]) continue;
        const rules = RULES.filter(
          (rule) =>
            rule.kind === (verdict === "ok" ? "looser" : "stricter") &&
            rule.verdicts.includes(verdict) &&
            rule.than.includes(library) &&
            rule.applies(request),
        );
        if (rules.length === 0) fail(`no rule explains why ${library} differs`);
        // A rule counts as needed only where no other one explains the difference.
        if (rules.length === 1) explained.set(rules[0]!, explained.get(rules[0]!)! + 1);
      }
    });

    const began = Bun.nanoseconds();
    await fc.assert(property, { seed: SEED, numRuns: RUNS });
    const seconds = (Bun.nanoseconds() - began) / 1e9;

    console.log(`VERIFY_SEED=${SEED}: ${RUNS} requests in ${seconds.toFixed(1)} s; accepted:`, accepted);
    console.log("verdicts:", verdicts);
    console.log("differences by rule:");
    for (const [{ rule, kind, than }, count] of explained)
      console.log(`${count}`.padStart(7), kind, `than ${than.join(" and ")}:`, rule);

    // The mutations must produce enough accepted and enough refused requests, and every code.
    expect(accepted.bellhop / RUNS).toBeGreaterThan(0.2);
    expect(accepted.bellhop / RUNS).toBeLessThan(0.8);
    const codes = [
      "missing_headers",
      "bad_id",
      "bad_timestamp",
      "no_match",
      "too_old",
      "too_new",
      "bad_secret",
    ] as const;
    expect(codes.filter((code) => (verdicts[code] ?? 0) < RUNS / 1000)).toEqual([]);
    expect([...explained].filter(([, count]) => count === 0).map(([{ rule }]) => rule)).toEqual([]);
  },
  // 100,000 requests take 3 s on two cores; 1 ms per request leaves room for a slow machine.
  Math.max(5000, RUNS),
);
