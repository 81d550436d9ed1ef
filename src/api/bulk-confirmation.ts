// The rule for bulk replays, for the page, commands and agents alike: a condition, and above 100 runs the number that the
// person has seen. Pure.

import type { ReplaySelection } from "../inbox/views.ts";
import type { BulkRefusal } from "./types.ts";

/** Up to here, a request needs no number. */
const MAX_UNCONFIRMED = 100;
// Deliveries arrive between the count and the replay.
const GROWTH = 1.1;
const GROWTH_RUNS = 10;

/** The most runs that may start. */
export function mostRuns(expected: number | undefined): number {
  return expected === undefined ? MAX_UNCONFIRMED : Math.max(expected + GROWTH_RUNS, Math.floor(expected * GROWTH));
}

/** Without a condition, a replay would repeat everything that is stored. */
export function hasCondition({ filter }: ReplaySelection): boolean {
  return Object.values(filter).some((value) => value !== undefined && value !== null && value !== "");
}

export const NO_CONDITION: BulkRefusal = {
  error: "no_condition",
  message: "A bulk replay needs a condition, such as a handler, a type, a state or a time",
};

/** Why a replay may not start, or undefined. `found`: counted up to `mostRuns(expected) + 1`. */
export function confirmationTrouble(found: number, expected: number | undefined): BulkRefusal | undefined {
  if (found <= mostRuns(expected)) return undefined;
  return {
    error: "not_confirmed",
    message:
      expected === undefined
        ? `More than ${MAX_UNCONFIRMED} runs match: count them, and repeat the request with that number as \`expected\``
        : `${expected.toLocaleString("en")} runs were expected, and more match now: count them again`,
  };
}
