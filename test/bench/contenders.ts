// Who is measured by `bun run bench`, in the order in which the table shows them.

import { checkEffects, checkInbox, checkLimit } from "./check.ts";
import { installPeer, peers } from "./peers.ts";
import { DB_HANDLER, HANDLER, type Running, startBellhop, startCeiling, startLimit, startPeer } from "./servers.ts";

export interface Contender {
  /** What `--only` knows it by. */
  word: string;
  name: string;
  does: string;
  start(): Promise<Running>;
  /** It handles what it has answered: `settle` says when. */
  handles?: true;
  /** Looks at what it left on the disk, once it has stopped; returns what is wrong. */
  check?(folder: string, answered: readonly string[]): string[];
  /** What has to be done once on a machine. */
  install?(): Promise<unknown>;
  versions?: Record<string, string>;
}

/** What everything is compared with. */
export const BELLHOP = "bellhop";
export const CEILING = "ceiling";

export function contenders(requestBytes: number): Contender[] {
  return [
    {
      word: BELLHOP,
      name: "Bellhop, `bun start`",
      does: "verify, fsync, 200, run a handler, settle",
      start: () => startBellhop(HANDLER),
      handles: true,
      check: checkInbox,
    },
    {
      word: "db",
      name: "Bellhop, a handler with `db`",
      does: "the same and one row, exactly once",
      start: () => startBellhop(DB_HANDLER),
      handles: true,
      check: (folder, answered) => [...checkInbox(folder, answered), ...checkEffects(folder, answered)],
    },
    ...peers.map((peer) => ({
      word: peer.template.replace(".mjs", ""),
      name: peer.name,
      does: peer.does,
      start: () => startPeer(peer),
      install: () => installPeer(peer),
      versions: peer.versions,
    })),
    {
      word: "limit",
      name: "the limit: bare `Bun.serve`",
      does: "verify, fsync, 200",
      start: startLimit,
      check: checkLimit,
    },
    {
      word: CEILING,
      name: "the load generator's ceiling",
      does: "200",
      start: () => startCeiling(requestBytes),
    },
  ];
}
