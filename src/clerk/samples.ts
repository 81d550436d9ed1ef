// Builds an event of any type as Clerk would send it: for `bun send`, for tests, and to try out a handler.
// The events are data in samples.json; this file fills in fresh ids and times. It never copies Clerk's own examples.

import { parseDuration } from "../duration.ts";
import { isObject } from "../json.ts";
import { type ClerkEvent, type KnownEventName, type ReceivedEvent } from "./events.ts";
import samples from "./samples.json";

export interface SampleOptions<Name extends KnownEventName = KnownEventName> {
  /** When the event happens, in milliseconds. Default: now. */
  now?: number;
  /** Random numbers from 0 up to 1. Default: `Math.random`. A seeded one gives the same sample again for the same `now`. */
  random?: () => number;
  /** Merged into the sample: objects are merged, everything else is replaced. */
  overrides?: DeepPartial<ClerkEvent<Name>>;
}

export type DeepPartial<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [Key in keyof T]?: DeepPartial<T[Key]> }
    : T;

/** One object of samples.json: `data` is merged into what it extends, then one of `variants`, chosen at random. */
interface Template {
  extends?: string;
  data?: object;
  variants?: object[];
}

// The samples are made to break a handler that assumes too much, and to be harmless:
// - Names are in several scripts, with apostrophes and combining marks. Emails and slugs have digits, because handlers
//   store them in unique columns.
// - Some users have only a phone number or a wallet, which breaks a handler that reads `email_addresses[0].id`.
// - No address can be reached: example.com, .net and .org (RFC 2606), 203.0.113.0/24 (RFC 5737), and the phone numbers
//   555-0100 to 555-0199, which are reserved for fiction and are Clerk's own test numbers.
// - Amounts are in cents. Properties of a payer that do not apply are empty strings. Clerk sends freeTrialEnding three days
//   before the end.
// Nothing compares the file with the types of `ClerkEvents`: the SDK's types differ from real deliveries in details, such
// as an id in every verification. test/clerk/samples.test.ts checks each sample against Clerk's specification.
const objects: Record<string, Template> = samples.objects;
const events: Record<KnownEventName, Template> = samples.events;

/**
 * A realistic event with an id of its own.
 *
 *     sample("user.created", { overrides: { data: { first_name: "Zoë" } } });
 */
export function sample<Name extends KnownEventName>(
  name: Name,
  { now = Date.now(), random = Math.random, overrides }: SampleOptions<Name> = {},
): ClerkEvent<Name> & ReceivedEvent {
  const event = { type: name, ...samples.envelope, data: merged(events[name], random) };
  const value = createValues({ name, now: Math.floor(now), random });
  return mergeDeep(fill(event, value), overrides ?? {}) as ClerkEvent<Name> & ReceivedEvent;
}

/** Merges objects deeply; an array, null or any other value replaces. Changes neither argument. */
export function mergeDeep(value: unknown, over: unknown): unknown {
  if (!isObject(value) || !isObject(over)) return over;
  const names = new Set([...Object.keys(value), ...Object.keys(over)]);
  // fromEntries, since assigning to a property named __proto__ would change what the object inherits.
  return Object.fromEntries(
    [...names].map((name) => {
      if (!Object.hasOwn(over, name)) return [name, value[name]];
      return [name, Object.hasOwn(value, name) ? mergeDeep(value[name], over[name]) : over[name]];
    }),
  );
}

function merged(template: Template, random: () => number): unknown {
  const base = template.extends === undefined ? {} : merged(objects[template.extends]!, random);
  return mergeDeep(mergeDeep(base, template.data ?? {}), pick(template.variants ?? [{}], random));
}

/** Replaces each `{…}` in the strings of a template. A string that is one placeholder gets the type of its value. */
function fill(template: unknown, value: (placeholder: string) => unknown): unknown {
  if (typeof template === "string") {
    const [, whole] = /^\{([^{}]+)\}$/.exec(template) ?? [];
    if (whole) return value(whole);
    return template.replaceAll(/\{([^{}]+)\}/g, (_, placeholder: string) => String(value(placeholder)));
  }
  if (Array.isArray(template)) return template.map((item) => fill(item, value));
  if (!isObject(template)) return template;
  return Object.fromEntries(Object.entries(template).map(([key, item]) => [key, fill(item, value)]));
}

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MAX_AGE_MS = 90 * DAY_MS;

/**
 * The values of placeholders. Within one event the same placeholder has the same value, so that ids agree:
 *
 * - `{created}`, `{updated+30d}`: a time in milliseconds; both are `now` when the object is new
 * - `{today}`: the start of the day in UTC, because Clerk stores only the day of a user's last activity
 * - `{first_name}`, `{organization_slug}`: of a random person and a random organization
 * - `{######}`: as many digits
 * - `{object payer}`: another object of samples.json
 * - `{user}`, `{user inviter}`: an id like `user_2g7…`; a second word distinguishes two users
 */
function createValues({ name, now, random }: { name: KnownEventName; now: number; random: () => number }) {
  const characters = (alphabet: string, length: number) =>
    Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join("");
  const isNew = name.endsWith(".created") || name === "session.pending";
  const times = {
    created: isNew ? now : now - HOUR_MS - Math.floor(random() * MAX_AGE_MS),
    updated: now,
    today: now - (now % DAY_MS),
  };
  const fixed = new Map<string, string>(
    Object.entries({ ...pick(samples.people, random), ...pick(samples.organizations, random) }),
  );
  const values = new Map<string, unknown>();

  function create(placeholder: string): unknown {
    const [, base, sign, duration = ""] = /^(created|updated|today)(?:([+-])(\w+))?$/.exec(placeholder) ?? [];
    if (base) {
      const offset = sign ? parseDuration(duration) : 0;
      return times[base as keyof typeof times] + (sign === "-" ? -offset : offset);
    }
    const text = fixed.get(placeholder);
    if (text !== undefined) return fill(text, value);
    if (/^#+$/.test(placeholder)) return characters("0123456789", placeholder.length);
    const [first, second = ""] = placeholder.split(" ");
    if (first === "object") return fill(merged(objects[second]!, random), value);
    // Clerk's ids are a prefix and 27 base62 characters.
    return `${first}_${characters(BASE62, 27)}`;
  }

  function value(placeholder: string): unknown {
    if (!values.has(placeholder)) values.set(placeholder, create(placeholder));
    return values.get(placeholder);
  }

  return value;
}

function pick<T>(list: readonly T[], random: () => number): T {
  return list[Math.floor(random() * list.length)]!;
}
