// Options that several commands take.

import { readMoment } from "../duration.ts";
import { UserError } from "../errors.ts";

/** `--since 7d` and `--until 2026-05-01`: Unix time in milliseconds. */
export function readTime(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const time = readMoment(text, Date.now());
  if (time !== undefined) return time;
  throw new UserError(`--${name} is ${text}, expected how long ago (7d, 12h, 30m) or a date (2026-05-01T12:00Z)`);
}

/** `--rate 20`: runs or requests per second. */
export function readRate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const rate = Number(text);
  if (rate > 0 && Number.isFinite(rate)) return rate;
  throw new UserError(`--rate is ${text}, expected a number per second: 20, or 0.5`);
}

/** `--limit 50`: a whole number of at least one. */
export function readWhole(name: string, text: string | undefined, max: number): number | undefined {
  if (text === undefined) return undefined;
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= max) return limit;
  throw new UserError(`--${name} is ${text}, expected a whole number from 1 to ${max}`);
}

/** Refuses the first of these options that is given, since it would have no effect. `reason`: `needs …`, without the option. */
export function refuseOptions<T extends object>(args: T, names: readonly (keyof T & string)[], reason: string) {
  const given = names.find((name) => args[name] !== undefined && args[name] !== false);
  if (given !== undefined) throw new UserError(`--${given} ${reason}`);
}
