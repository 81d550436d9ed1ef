// The JSON about the server itself. Shapes only, so that the page can import them.

import type { RefusalCode } from "../errors.ts";
import type { Chart } from "../monitor/history.ts";

/** `GET /api/server`. */
export interface ServerJson {
  pid: number;
  mode: "dev" | "start";
  /** Begins each command that the page names: `bun`, or `bunx bellhop` where Bellhop is installed as a package. */
  command: string;
  /** The webhook endpoint on this machine. */
  webhookUrl: string;
  /** The public address, when a tunnel is known. */
  publicUrl: string | null;
  /** The first characters of the signing secret. */
  secretHint: string;
  /** `bun dev` generated the secret, so Clerk does not have it. */
  isDevSecret: boolean;
  handlersDir: string;
  /** Names of the events that `POST /api/send` can make. */
  samples: string[];
  /** The name of the project's folder. */
  project: string;
  /** The project's folder, for links that open an editor. Null unless only this machine's browsers are accepted. */
  root: string | null;
  /** A token is set, so the page offers to sign out. */
  signedIn: boolean;
}

/** The parameter `window` of `GET /api/health`. */
export type ChartWindow = "1h" | "24h" | "14d";

/**
 * `GET /api/health?window=24h`: figures of all servers in the last hour, day or two weeks, a number for each step, oldest
 * first. They outlive a restart.
 */
export interface HealthJson extends Chart {
  /** Runs that are not done now. Each count ends at 10,000 for a handler. */
  runs: Record<"waiting" | "retrying" | "running" | "parked" | "dead", number>;
  /** Unix time in milliseconds; null when there is no delivery. */
  lastDelivery: number | null;
  writable: boolean;
}

/** `GET /api/servers`: the servers that share the inbox. Empty with SQLite, where there is one. */
export interface ServerRowJson {
  id: string;
  /** The server that answers. */
  isThis: boolean;
  host: string;
  pid: number;
  version: string;
  startedAt: number;
  /** Runs in flight. */
  running: number;
  /** Milliseconds since its latest beat. */
  seenAgo: number;
  /** Handlers that it loads and the server that answers does not. */
  more: string[];
  /** Handlers that only the server that answers loads. */
  missing: string[];
}

/** `GET /api/refused`: the latest refused requests, newest first, and how many of each code. */
export interface RefusedJson {
  counts: Partial<Record<RefusalCode, number>>;
  latest: {
    code: RefusalCode;
    at: number;
    size: number;
    claimedId: string | null;
    /** The difference between its signed time and the server's clock, in seconds. */
    skewSeconds?: number;
    path?: string;
    rightPath?: string;
    proxied?: true;
    /** How a proxy has changed the body, if that explains the refusal. */
    change?: string;
  }[];
  /** The addresses with the most refused requests, see TRUST_PROXY. */
  addresses?: { address: string; count: number }[];
  /** For each code in `counts`. */
  explanations: Partial<Record<RefusalCode, { message: string; remedy: string }>>;
}
