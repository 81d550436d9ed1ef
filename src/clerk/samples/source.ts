// Where samples take ids, times and chance from. Pure: everything follows from `now` and `random`.

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

/** When an object came to be and last changed, in milliseconds, as nearly every Clerk object says. */
export interface Stamps {
  created_at: number;
  updated_at: number;
}

export type Source = ReturnType<typeof createSource>;

export function createSource(now: number, random: () => number) {
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <const T>(list: readonly T[]): T => list[below(list.length)]!;
  const from = (alphabet: string, length: number) =>
    Array.from({ length }, () => alphabet[below(alphabet.length)]).join("");

  /** Clerk's ids are a prefix and 27 base62 characters. */
  const id = (prefix: string) => `${prefix}_${from(BASE62, 27)}`;

  return {
    now,
    pick,
    id,
    /** True in this share of the cases, from 0 to 1. */
    chance: (share: number) => random() < share,
    base62: (length: number) => from(BASE62, length),
    digits: (length: number) => from("0123456789", length),
    hex: (length: number) => from("0123456789abcdef", length),

    createdNow: (): Stamps => ({ created_at: now, updated_at: now }),
    updatedNow: (): Stamps => ({ created_at: now - HOUR - below(90 * DAY), updated_at: now }),

    /** What is left of an object in the event of its deletion. */
    deleted: (object: string, prefix: string) => ({ object, id: id(prefix), deleted: true }),

    /** An address of 203.0.113.0/24, which RFC 5737 keeps for examples. */
    address: () => `203.0.113.${1 + below(254)}`,
    browser: () => pick(BROWSERS),
    image: () => `https://img.clerk.com/${from(BASE62, 48)}`,
  };
}

const BROWSERS = [
  {
    name: "Firefox",
    version: "143.0",
    device: "Linux",
    mobile: false,
    agent: "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
  },
  {
    name: "Safari",
    version: "26.0",
    device: "iPhone",
    mobile: true,
    agent:
      "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
  },
  {
    name: "Edge",
    version: "141.0.0.0",
    device: "Windows",
    mobile: false,
    agent:
      "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
  },
];
