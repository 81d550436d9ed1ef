// Remembers refused requests, in bounded memory: code, time, size, address and the claimed id. Never a body, a header or a secret.
// A flood of refusals causes one log line per code and second. The codes are listed in errors.ts.

import type { RefusalCode } from "../errors.ts";
import type { BodyChange } from "./changed-body.ts";
import { countAddresses } from "./client-address.ts";

export interface RefusedRequest {
  code: RefusalCode;
  /** Unix time in milliseconds. */
  at: number;
  /** Bytes of the body, as far as they are known. */
  size: number;
  /** The unverified id of the request: 64 printable characters at most. */
  claimedId: string | null;
  /** Of the client, if it is known: see `TRUST_PROXY`. */
  address?: string | undefined;
  /** The difference between its signed time and the server's clock, in seconds. */
  skewSeconds?: number;
  /** With `no_match`: how a proxy has changed the body, if that explains it. */
  change?: BodyChange;
  /** With `wrong_path`: the path that was asked for, 100 printable characters at most. */
  path?: string;
  /** With `wrong_path`: the webhook's path, to correct the endpoint. */
  rightPath?: string;
  /** It came through a proxy, which may have changed the body or the headers. */
  proxied?: true;
}

export interface RefusedRequests {
  add(refused: RefusedRequest): void;
  /** The latest ones, oldest first. */
  recent(): readonly RefusedRequest[];
  /** The addresses with the most refused requests since the start. */
  addresses(): { address: string; count: number }[];
}

const KEPT = 1_000;
const WINDOW_MS = 1_000;
const TOP_ADDRESSES = 10;

/** `report` gets the latest refusal of a code and the number of refusals since the last report. */
export function createRefusedRequests(report: (latest: RefusedRequest, count: number) => void): RefusedRequests {
  const kept: RefusedRequest[] = [];
  const counts = countAddresses();
  const windows = new Map<RefusalCode, { latest: RefusedRequest; count: number }>();

  // The first refusal of a code is reported at once, those of the next second together.
  function openWindow(code: RefusalCode) {
    setTimeout(() => {
      const { latest, count } = windows.get(code) ?? {};
      windows.delete(code);
      if (!latest || !count) return;
      report(latest, count);
      windows.set(code, { latest, count: 0 });
      openWindow(code);
    }, WINDOW_MS).unref();
  }

  return {
    add(refused) {
      const path = refused.path === undefined ? {} : { path: copyOf(refused.path, 100) };
      const entry = { ...refused, ...path, claimedId: shortId(refused.claimedId) };
      kept.push(entry);
      counts.add(entry.address);
      if (kept.length > KEPT * 2) kept.splice(0, kept.length - KEPT);
      const window = windows.get(entry.code);
      if (window) {
        window.latest = entry;
        window.count += 1;
        return;
      }
      windows.set(entry.code, { latest: entry, count: 0 });
      report(entry, 1);
      openWindow(entry.code);
    },
    recent: () => kept.slice(-KEPT),
    addresses: () => counts.top(TOP_ADDRESSES),
  };
}

function shortId(id: string | null): string | null {
  return id === null ? null : copyOf(id, 64);
}

function copyOf(text: string, length: number): string {
  const short = text.slice(0, length).replace(/[^\x20-\x7e]/g, "?");
  // A slice keeps the whole string alive, and a header may have 16 KB: through a buffer it is a copy.
  return Buffer.from(short, "latin1").toString("latin1");
}
