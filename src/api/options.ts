// The dependencies of the API on the process that serves it.

import type { Inbox } from "../inbox/inbox.ts";
import type { RunKey } from "../inbox/views.ts";
import type { ReadFrame } from "./code-frame.ts";
import type { ApiHandler } from "./routes/filter.ts";
import type { Live } from "./routes/live.ts";

export interface ApiOptions {
  inbox: Pick<Inbox, "get" | "list" | "replay" | "countReplay" | "replayProgress" | "retryNow" | "giveUp">;
  /** The current handlers. */
  handlers: () => readonly ApiHandler[];
  /** Finds the source line that threw an error. */
  frame?: ReadFrame;
  /** Finds runs that are done and whose effects are missing; set when a server runs. */
  lost?: () => Promise<RunKey[]>;
  /** Set when a server runs; a command that opens the inbox itself has none. */
  live?: Live;
  /** Called with errors that no route expects. */
  onError?: (error: unknown) => void;
}
