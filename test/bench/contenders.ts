// The servers that `bun run bench` measures, in the order of its table.

import { checkBaseline, checkEffects, checkInbox } from "./check.ts";
import { installPeer, peers } from "./peers.ts";
import { DB_HANDLER, HANDLER, type Running, startBaseline, startBellhop, startCeiling, startPeer } from "./servers.ts";

export interface Contender {
  /** The name in `--only`. */
  key: string;
  name: string;
  does: string;
  start(): Promise<Running>;
  /** It runs handlers for what it has accepted, and `settle` waits for them. */
  handles?: true;
  /** Checks the files of the stopped server; returns the problems. */
  check?(folder: string, answered: readonly string[]): string[];
  /** Done once on a machine. */
  install?(): Promise<unknown>;
  versions?: Record<string, string>;
}

/** The server that all others are compared with. */
export const BELLHOP = "bellhop";
export const CEILING = "ceiling";

export function contenders(requestBytes: number): Contender[] {
  return [
    {
      key: BELLHOP,
      name: "Bellhop, `bun start`",
      does: "verify, fsync, 200, run a handler, record",
      start: () => startBellhop(HANDLER),
      handles: true,
      check: checkInbox,
    },
    {
      key: "db",
      name: "Bellhop, a handler with `db`",
      does: "the same and one row, exactly once",
      start: () => startBellhop(DB_HANDLER),
      handles: true,
      check: (folder, answered) => [...checkInbox(folder, answered), ...checkEffects(folder, answered)],
    },
    ...peers.map((peer) => ({
      key: peer.template.replace(".mjs", ""),
      name: peer.name,
      does: peer.does,
      start: () => startPeer(peer),
      install: () => installPeer(peer),
      versions: peer.versions,
    })),
    {
      key: "baseline",
      name: "baseline: bare `Bun.serve`",
      does: "verify, fsync, 200",
      start: startBaseline,
      check: checkBaseline,
    },
    {
      key: CEILING,
      name: "the load generator's ceiling",
      does: "200",
      start: () => startCeiling(requestBytes),
    },
  ];
}
