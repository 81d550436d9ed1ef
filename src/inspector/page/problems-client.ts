// The requests about problems.

import type { BulkJobJson, CommonValuesJson, ProblemJson, ProblemsJson, ReplayCount } from "../../api/types.ts";
import { api, get, post } from "./api.ts";

/** The deliveries of a problem, newest first, and the values that most of their payloads share. */
export interface ProblemDetails {
  deliveries: string[];
  common: CommonValuesJson;
}

const STATES = ["open", "resolved", "muted"] as const;
const MAX_STEPS = 200;

export const problemsApi = {
  async list(aborted: AbortSignal): Promise<ProblemJson[]> {
    const answers = await Promise.all(STATES.map((state) => get<ProblemsJson>("problems", { state }, aborted)));
    return answers.flatMap(({ problems }) => problems);
  },
  async details(id: string, aborted: AbortSignal): Promise<ProblemDetails> {
    const [{ deliveries }, common] = await Promise.all([
      api.list({ problem: id, limit: MAX_STEPS }, aborted),
      get<CommonValuesJson>(`problems/${encodeURIComponent(id)}/common`, {}, aborted),
    ]);
    return { deliveries: deliveries.map((delivery) => delivery.id), common };
  },
  /** How many runs `replay` adds. */
  count: async (id: string) => (await get<ReplayCount>("replays", { problem: id, stale: true })).found,
  /** Only its dead runs, about as many as expected. */
  replay: (id: string, expected: number) => post<BulkJobJson>("bulk", { problem: id, stale: true, expected }),
  mute: (id: string, muted: boolean) => post<unknown>(`problems/${encodeURIComponent(id)}/mute`, { muted }),
};
