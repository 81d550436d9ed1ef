// Reads single variables of the environment. Pure; a message never contains a value that may be a secret.

import { parseDuration } from "./duration.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Problem {
  name: string;
  /** Continues the sentence `PORT …`. */
  message: string;
  example: string;
}

export type SettingReader = ReturnType<typeof settingReader>;

/** Each method returns a valid value: an invalid one is added to `problems`, and replaced by the default. */
export function settingReader(env: Environment, defaults: Readonly<Record<string, string>>, problems: Problem[]) {
  const fallbackOf = (name: string) => defaults[name] ?? "";
  const text = (name: string, fallback = fallbackOf(name)) => env[name]?.trim() || fallback;
  function refuse<T extends string>(name: string, message: string, fallback: T): T {
    problems.push({ name, message, example: `${name}=${fallback}` });
    return fallback;
  }
  return {
    text,
    integer(name: string, min: number, max: number): number {
      const found = text(name);
      const value = Number(found);
      if (/^\d+$/.test(found) && value >= min && value <= max) return value;
      const message = `is ${quote(found)}, expected a whole number from ${min} to ${max}`;
      return Number(refuse(name, message, fallbackOf(name)));
    },
    /** Undefined when it is not set. */
    port(name: string): number | undefined {
      const found = env[name]?.trim();
      if (!found) return undefined;
      const value = Number(found);
      if (/^\d+$/.test(found) && value <= 65_535) return value;
      problems.push({
        name,
        message: `is ${quote(found)}, expected a whole number from 0 to 65535`,
        example: `${name}=9464`,
      });
      return undefined;
    },
    /** Milliseconds, at least a minute, or one of the choices. */
    durationOr<const T extends string>(name: string, choices: readonly T[]): number | T {
      const found = text(name);
      const choice = choices.find((known) => known === found);
      if (choice !== undefined) return choice;
      try {
        const duration = parseDuration(found);
        if (duration < 60_000) throw new RangeError("too short");
        return duration;
      } catch {
        const message = `is ${quote(found)}, expected a duration of 1m or more, such as 6h, or ${choices.join(" or ")}`;
        return refuse(name, message, fallbackOf(name)) as T;
      }
    },
    path(name: string): string {
      const found = text(name).replace(/(.)\/+$/, "$1");
      if (/^\/[\w\-./~]*$/.test(found) && found !== "/health") return found;
      return refuse(
        name,
        `is ${quote(found)}, expected a path that begins with / and is not /health`,
        fallbackOf(name),
      );
    },
    url(name: string): string {
      const found = text(name).replace(/\/+$/, "");
      if (/^https?:$/.test(URL.parse(found)?.protocol ?? "")) return found;
      return refuse(name, `is ${quote(found)}, expected an address`, fallbackOf(name));
    },
    /** Its path may be a secret. Undefined when it is not set. */
    secretUrl(name: string, example: string): string | undefined {
      const found = env[name]?.trim();
      if (!found || /^https?:$/.test(URL.parse(found)?.protocol ?? "")) return found || undefined;
      problems.push({ name, message: "is not an address that begins with https://", example: `${name}=${example}` });
      return undefined;
    },
    oneOf<const T extends string>(name: string, choices: readonly T[], fallback = fallbackOf(name) as T): T {
      const found = text(name, fallback);
      const choice = choices.find((known) => known === found);
      return choice ?? refuse(name, `is ${quote(found)}, expected one of ${choices.join(", ")}`, fallback);
    },
  };
}

// Common mistakes that are safe to print: a number with a unit, an address, a short word, a host or a path.
const HARMLESS = [
  /^[+-]?[\d.:,[\]]{1,24}[a-z]{0,3}$/i,
  /^(?:[a-z-]{1,8}|\w{1,5})$/i,
  /^(?:https?:\/\/)?(?:[a-z\d-]{1,24}\.){1,4}[a-z]{2,12}(?::\d{1,5})?(?:\/[a-z/-]{0,40})?$/,
  /^(?=.*\/)[a-z/-]{1,40}$/,
];

/** Quotes a harmless value. Any other value may be a password or secret that was pasted into the wrong variable. */
export function quote(found: string): string {
  if (HARMLESS.some((pattern) => pattern.test(found))) return JSON.stringify(found);
  const prefix = /^(?:whsec_|[sp]k_(?:test|live)_)/.exec(found)?.[0];
  return `a text of ${found.length} characters${prefix ? ` that begins with ${prefix}` : ""}`;
}
