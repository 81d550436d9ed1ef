// The state of each handler of a delivery, decided by its latest run. Pure; used by the server, the commands and the page.

import type { RunState } from "../inbox/inbox.ts";

interface HandlerRun {
  run: number;
  handler: string;
  state: RunState;
}

/** The last run of each handler, in the order of their first runs. */
export function latestRuns<Run extends Pick<HandlerRun, "run" | "handler">>(runs: readonly Run[]): Run[] {
  return [...new Map(runs.toSorted((a, b) => a.run - b.run).map((run) => [run.handler, run])).values()];
}

/** The handlers whose latest run is dead. */
export function deadHandlers(runs: readonly HandlerRun[]): string[] {
  return latestRuns(runs).flatMap(({ handler, state }) => (state === "dead" ? [handler] : []));
}

/** Whether some handlers are dead and others are not: a replay then runs only the dead ones. */
export function isPartlyDead(runs: readonly HandlerRun[]): boolean {
  const dead = deadHandlers(runs).length;
  return dead > 0 && dead < latestRuns(runs).length;
}
