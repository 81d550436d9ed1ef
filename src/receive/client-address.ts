// The address of a client, for logs and counts of refused requests. Never decides whether a request is refused: behind a
// proxy, all requests may come from one address, and all of Clerk's events come from a few addresses of Svix.

import { isIP } from "node:net";

/**
 * `trustedProxies`: how many proxies in front of this server add the address of their client to `X-Forwarded-For`. With 0,
 * the header is ignored, because anyone can send it. Undefined when the address is not known.
 */
export function clientAddress(headers: Headers, peer: string | undefined, trustedProxies: number): string | undefined {
  const forwarded = trustedProxies > 0 ? headers.get("x-forwarded-for")?.split(",") : undefined;
  // Entries further to the left were sent by the client.
  const entry = forwarded?.at(-trustedProxies)?.trim() ?? "";
  return readAddress(entry) ?? readAddress(peer ?? "");
}

/** Without a port, and IPv4 in its usual form. */
function readAddress(text: string): string | undefined {
  const bare = /^\[(.+)\](?::\d+)?$/.exec(text)?.[1] ?? (/^[\d.]+:\d+$/.test(text) ? text.split(":")[0]! : text);
  const address = bare.replace(/^::ffff:(?=\d+\.)/i, "");
  return isIP(address) === 0 ? undefined : address;
}

export interface AddressCounts {
  add(address: string | undefined): void;
  /** The addresses with the most requests, most first. */
  top(limit: number): { address: string; count: number }[];
}

// A client may use any number of addresses.
const KEPT = 1_000;

/** Counts requests by address, in bounded memory: of many, those that were seen longest ago are forgotten. */
export function countAddresses(kept = KEPT): AddressCounts {
  const counts = new Map<string, number>();
  return {
    add(address) {
      const key = address ?? "unknown";
      const count = (counts.get(key) ?? 0) + 1;
      counts.delete(key);
      counts.set(key, count);
      if (counts.size > kept) counts.delete(counts.keys().next().value!);
    },
    top: (limit) =>
      [...counts]
        .map(([address, count]) => ({ address, count }))
        .toSorted((a, b) => b.count - a.count)
        .slice(0, limit),
  };
}
