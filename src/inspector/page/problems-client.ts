// What the page needs from the server about problems.

import type { BulkJobJson } from "../../api/types.ts";
import { ApiError, get, post } from "./api.ts";

/** As `ProblemView` of the inbox. */
export interface ProblemJson {
  id: string;
  handler: string;
  name: string;
  message: string;
  place: string | null;
  source: string | null;
  state: "open" | "resolved";
  muted: boolean;
  failures: number;
  runs: Record<"dead" | "retrying" | "done" | "skipped", number>;
  subjects: number;
  more: boolean;
  firstAt: number;
  lastAt: number;
  resolvedAt: number | null;
  regressedAt: number | null;
  newest: string;
  days: number[];
}

/** The deliveries of a problem, newest first, and the values that most of their payloads share. */
export interface ProblemDetails {
  deliveries: string[];
  common: { path: string; value: string; share: number; of: number }[];
}

export const problemsApi = {
  async list(aborted: AbortSignal): Promise<ProblemJson[]> {
    try {
      return (await get<{ problems: ProblemJson[] }>("problems", {}, aborted)).problems;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return [];
      throw error;
    }
  },
  details: (id: string, aborted: AbortSignal) => get<ProblemDetails>(`problems/${encodeURIComponent(id)}`, {}, aborted),
  replay: (id: string) => post<BulkJobJson>(`problems/${encodeURIComponent(id)}/replay`),
  mute: (id: string, muted: boolean) =>
    post<unknown>(`problems/${encodeURIComponent(id)}/${muted ? "mute" : "unmute"}`),
};
