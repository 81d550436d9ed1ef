// Compares two payloads: the paths that differ, with both values. Pure.
// Secrets are compared, but shown as `•••`.

import { MASK } from "../redact.ts";
import { redact } from "./redact-payload.ts";

export interface FieldChange {
  /** `data.public_metadata.plan` */
  path: string;
  /** JSON, or null when the field is new. */
  before: string | null;
  /** JSON, or null when the field is gone. */
  after: string | null;
}

const MAX_CHANGES = 200;
const MAX_VALUE_CHARACTERS = 500;
/** They differ between any two events. */
const ENVELOPE = new Set(["timestamp", "event_attributes", "type", "object", "instance_id"]);

export function diffPayloads(before: string, after: string): FieldChange[] {
  const secrets = new Set([...redact(before).paths, ...redact(after).paths]);
  const changes: FieldChange[] = [];
  compare(JSON.parse(before), JSON.parse(after), []);
  return changes;

  function compare(old: unknown, now: unknown, path: readonly string[]) {
    if (changes.length === MAX_CHANGES || (path.length === 1 && ENVELOPE.has(path[0]!)) || Object.is(old, now)) return;
    if (!isSecret(path) && isContainer(old) && isContainer(now) && Array.isArray(old) === Array.isArray(now)) {
      for (const name of new Set([...Object.keys(old), ...Object.keys(now)]))
        compare(own(old, name), own(now, name), [...path, name]);
      return;
    }
    if (JSON.stringify(old) === JSON.stringify(now)) return;
    changes.push({ path: path.join("."), before: shown(old, path), after: shown(now, path) });
  }

  function isSecret(path: readonly string[]): boolean {
    return secrets.has(path.join("."));
  }

  function shown(value: unknown, path: readonly string[]): string | null {
    if (value === undefined) return null;
    if (isSecret(path) || hasSecretBelow(path)) return JSON.stringify(MASK);
    return JSON.stringify(value).slice(0, MAX_VALUE_CHARACTERS);
  }

  function hasSecretBelow(path: readonly string[]): boolean {
    const prefix = `${path.join(".")}.`;
    return [...secrets].some((secret) => secret.startsWith(prefix));
  }
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** A payload may have a key `__proto__`. */
function own(value: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}
