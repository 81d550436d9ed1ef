// Redacts the secrets in a payload before the inspector shows it: codes, tokens, private metadata. Pure.
// It recognises secrets by name and by format, so it protects against a glance over the shoulder, not against an attacker.

import { hasSecret, MASK } from "../redact.ts";

export interface Redacted {
  /** JSON with `•••` in place of each secret; the original text when there is none. */
  text: string;
  /** Paths of the secrets: `data.otp_code`. */
  paths: string[];
}

const MAX_DEPTH = 100;

// Anchored, because `country_code` and `password_enabled` are not secrets.
const SECRET_NAMES =
  /^(?:private_metadata|nonce|jwt|authorization|signature|pin|(?:otp|one_time|verification|backup|recovery|totp|invite|invitation|magic|sign_in|auth)_?(?:codes?|secrets?|links?|uri)|codes?|otp|passcode|password|passwd|password_digest|credentials?|(?:.*_)?(?:token|tokens|ticket|secret|secret_key|api_keys?|private_key|access_key))$/i;
/** The texts of e-mails and SMS contain the code as well. */
const MESSAGE_TEXTS = /^(?:subject|body|body_plain|message)$/;
const MESSAGE_TYPES = /^(?:email|sms)\./;

/** Redacts the text of a payload. A text that is not JSON is redacted as a whole. */
export function redact(text: string): Redacted {
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch {
    return { text: JSON.stringify(MASK), paths: [""] };
  }
  const paths: string[] = [];
  const { type } = (event ?? {}) as { type?: unknown };
  const redacted = walk(event, [], typeof type === "string" && MESSAGE_TYPES.test(type), paths);
  return paths.length === 0 ? { text, paths } : { text: JSON.stringify(redacted), paths };
}

function walk(value: unknown, path: readonly string[], isMessage: boolean, paths: string[]): unknown {
  const name = path.at(-1) ?? "";
  if (path.length > MAX_DEPTH || (hasContent(value) && isSecret(name, value, path, isMessage))) {
    paths.push(path.join("."));
    return MASK;
  }
  if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, String(index)], isMessage, paths));
  if (typeof value !== "object" || value === null) return value;
  // `fromEntries` defines `__proto__` as a property, where an assignment would set the prototype.
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, walk(item, [...path, key], isMessage, paths)]),
  );
}

function isSecret(name: string, value: unknown, path: readonly string[], isMessage: boolean): boolean {
  if (typeof value === "boolean") return false;
  // The reason of a failed payment is not a secret: `failed_reason: { code: "card_declined" }`.
  if (name === "code" && /(?:reason|error)s?$/i.test(path.at(-2) ?? "")) return false;
  if (SECRET_NAMES.test(name)) return true;
  if (typeof value !== "string") return false;
  return hasSecret(value) || (isMessage && path.length === 2 && MESSAGE_TEXTS.test(name));
}

/** An empty value, such as `private_metadata: {}`, is not redacted. */
function hasContent(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}
