// Which values of a payload are hidden until somebody asks for them: codes, tokens, private metadata. Pure.
// It hides by name and by look; what it does not know stays to be seen, so it protects from a glance, not from a thief.

export interface Hidden {
  /** JSON with `•••` in place of what is hidden; the very text that was given when nothing is. */
  text: string;
  /** Where something was hidden: `data.otp_code`. */
  paths: string[];
}

const MASK = "•••";
const DEEPEST = 100;

// `country_code` and `password_enabled` are no secrets: the whole name counts.
const SECRET_NAMES =
  /^(?:private_metadata|nonce|jwt|authorization|signature|pin|(?:otp|one_time|verification|backup|recovery|totp|invite|invitation|magic|sign_in|auth)_?(?:codes?|secrets?|links?|uri)|codes?|otp|passcode|password|passwd|password_digest|credentials?|(?:.*_)?(?:token|tokens|ticket|secret|secret_key|api_keys?|private_key|access_key))$/i;
// A JWT, keys of Clerk, Stripe and Svix, a link that signs in, a token in an address.
const SECRET_LOOKS =
  /\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*|\b(?:sk|rk)_(?:live|test)_\w{8,}|\bwhsec_[\w+/=]{8,}|__clerk_(?:ticket|token)|[?&#](?:token|ticket|code|otp|access_token|secret)=[^&\s]/i;
/** In messages to users, their texts carry the code as well. */
const MESSAGE_TEXTS = /^(?:subject|body|body_plain|message)$/;
const MESSAGE_TYPES = /^(?:email|sms)\./;

/** Hides in the text of a payload. What is no JSON is hidden whole. */
export function hide(text: string): Hidden {
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch {
    return { text: JSON.stringify(MASK), paths: [""] };
  }
  const paths: string[] = [];
  const { type } = (event ?? {}) as { type?: unknown };
  const shown = walk(event, [], typeof type === "string" && MESSAGE_TYPES.test(type), paths);
  return paths.length === 0 ? { text, paths } : { text: JSON.stringify(shown), paths };
}

function walk(value: unknown, path: readonly string[], message: boolean, paths: string[]): unknown {
  const name = path.at(-1) ?? "";
  if (path.length > DEEPEST || (hasContent(value) && isSecret(name, value, path, message))) {
    paths.push(path.join("."));
    return MASK;
  }
  if (Array.isArray(value)) return value.map((each, index) => walk(each, [...path, String(index)], message, paths));
  if (typeof value !== "object" || value === null) return value;
  // `fromEntries` makes properties even of `__proto__`.
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, walk(each, [...path, key], message, paths)]),
  );
}

function isSecret(name: string, value: unknown, path: readonly string[], message: boolean): boolean {
  if (typeof value === "boolean") return false;
  // Why a payment failed is no secret: `failed_reason: { code: "card_declined" }`.
  if (name === "code" && /(?:reason|error)s?$/i.test(path.at(-2) ?? "")) return false;
  if (SECRET_NAMES.test(name)) return true;
  if (typeof value !== "string") return false;
  return SECRET_LOOKS.test(value) || (message && path.length === 2 && MESSAGE_TEXTS.test(name));
}

/** `private_metadata: {}` hides nothing. */
function hasContent(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}
