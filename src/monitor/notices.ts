// The events that a person has to learn about. Any part of the server creates them with `Notify`, which returns at once
// and never throws; `alerts.ts` groups and sends them. A notice never contains a payload, a secret or a person's data.

import type { ProblemNews } from "../problems/problem-views.ts";

/** The dependency that is unavailable. */
export type OutageOf = "inbox" | "database" | "log";

export type Notice =
  | ({ kind: "problem" } & ProblemNews)
  /** The breaker paused a handler, or a probe succeeded and it runs again. */
  | { kind: "paused"; handler: string; reason: string }
  | { kind: "resumed"; handler: string; pausedMs: number }
  /** Reported once when it begins and once when it ends. */
  | { kind: "outage"; of: OutageOf; reason: string }
  | { kind: "outage over"; of: OutageOf; lastedMs: number }
  /** `quietMs`: since the latest verified delivery. `expected`: deliveries that usually come in such a time, if known. */
  | { kind: "silence"; quietMs: number; expected: number | null }
  | { kind: "silence over"; quietMs: number }
  /** The mirror differs from Clerk: the number of rows for each table. */
  | { kind: "drift"; tables: readonly { table: string; rows: number }[] }
  /** `bun alert --test`. */
  | { kind: "test"; host: string };

/** Reports an event to a person. With several servers, the caller makes sure that only one of them reports it. */
export type Notify = (notice: Notice) => void;
