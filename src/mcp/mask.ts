// Hides personal data from agents: shows the shape of a payload, and removes its values from errors and logs. Pure.
// Works by a list of values that are safe, so that a field which Clerk adds later is hidden.

import { MASK } from "../redact.ts";

const SAFE_NAMES = /^(?:object|type|status|role|strategy|instance_id)$|^id$|_id$/;
// Chosen by the application, and often an e-mail address or a name.
const USER_CHOSEN = /^external_id$|metadata$/;
const SAFE_TEXT = /^[\w.:-]{1,64}$/;
const SAFE_NUMBERS = /(?:_at|_count|timestamp|version)$/;
// A shorter value, such as a country code or a count, would be found inside other words and line numbers.
const MIN_HIDDEN_LENGTH = 3;
const MIN_HIDDEN_DIGITS = 5;
/** The fields of a run that a handler's code chooses. */
const CHOSEN_BY_CODE = new Set(["message", "stack", "reason", "error"]);

/** The payload with its structure, ids and times; other texts and numbers are `•••`. */
export function maskPayload(payload: string): string {
  return JSON.stringify(mask(parse(payload), "", [], false), null, 2);
}

/** The same runs, with `•••` in their errors and logs for each value that `maskPayload` hides. */
export function withoutValues<T>(value: T, payload: string): T {
  const hidden: string[] = [];
  mask(parse(payload), "", hidden, false);
  const values = [...new Set(hidden)]
    .filter((found) => found.length >= (/^[\d.-]+$/.test(found) ? MIN_HIDDEN_DIGITS : MIN_HIDDEN_LENGTH))
    .toSorted((one, other) => other.length - one.length);
  const clean = (text: string) => values.reduce((rest, found) => rest.replaceAll(found, MASK), text);
  return mapTexts(value, "", clean) as T;
}

/** Adds each hidden value to `hidden`. `isChosen`: inside of metadata, where no name is safe. */
function mask(value: unknown, name: string, hidden: string[], isChosen: boolean): unknown {
  const chosen = isChosen || USER_CHOSEN.test(name);
  if (Array.isArray(value)) return value.map((item) => mask(item, name, hidden, chosen));
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mask(item, key, hidden, chosen)]));
  if (value === "" || (typeof value !== "string" && typeof value !== "number")) return value;
  if (!chosen && typeof value === "string" && SAFE_NAMES.test(name) && SAFE_TEXT.test(value)) return value;
  if (!chosen && typeof value === "number" && SAFE_NUMBERS.test(name)) return value;
  hidden.push(String(value));
  return MASK;
}

function mapTexts(value: unknown, name: string, change: (text: string) => string): unknown {
  if (typeof value === "string") return CHOSEN_BY_CODE.has(name) ? change(value) : value;
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, name, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item, key, change)]));
}

function parse(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    // Stored before this version, or changed by hand.
    return payload;
  }
}
