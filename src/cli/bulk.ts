// Replays many stored deliveries: a count, a question, then the runs and their progress. Added runs continue on the
// server without this command.

import { type BulkReplay, endedRuns, runBulkReplay } from "../api/bulk-replay.ts";
import type { HandlerTrouble, ReplayCount, ReplayProgress } from "../api/types.ts";
import { UserError } from "../errors.ts";
import { didYouMean } from "../suggest.ts";
import type { Client, Query } from "./api-client.ts";
import { createProgress } from "./progress.ts";

const POLL_MS = 50;

/** The deliveries to replay. */
export interface BulkWork {
  /** The filter, and `stale`. */
  query: Query;
  /** The id of the new runs; "" for deliveries that a handler never saw. */
  replay: string;
  /** The handler to run; undefined for all. */
  handler?: string | undefined;
  /** A sentence about the count. */
  describe: (found: number) => string;
}

export interface BulkOptions {
  yes: boolean;
  dryRun: boolean;
  /** Runs per second; undefined adds them as fast as the server takes them. */
  rate: number | undefined;
}

/** Returns whether all the runs succeeded. */
export async function runInBulk(client: Client, work: BulkWork, options: BulkOptions): Promise<boolean> {
  const { query, replay, handler } = work;
  const { found, ...leftOut } = orUserError(handler, await client.countReplay(query));
  console.log([work.describe(found), ...describeLeftOut(leftOut)].join("\n"));
  if (found === 0 || options.dryRun) return true;
  if (!options.yes && !isConfirmed(`Run ${found === 1 ? "it" : "them"} now?`)) {
    console.log("Nothing was run.");
    return false;
  }
  const bar = createProgress(found);
  const bulk: BulkReplay = {
    add: async (after, limit) => orUserError(handler, await client.addReplays(query, replay, after, limit)),
    progressOf: (runs) => client.replayProgress(handler, runs),
    rate: options.rate,
    pollMs: POLL_MS,
    onProgress: ({ progress }) => bar.show(endedRuns(progress)),
  };
  const progress = await runBulkReplay(bulk).finally(() => bar.end());
  console.log(describeProgress(progress));
  return progress.dead === 0 && progress.waiting === 0;
}

/** Asks on a terminal. Throws elsewhere, where no person can answer. */
export function isConfirmed(question: string): boolean {
  if (!process.stdin.isTTY)
    throw new UserError(
      "This is not a terminal, so no one can confirm: add --yes to run them, or --dry-run to only count them",
    );
  return confirm(question);
}

/** The answer, or a `UserError` with the reason why the handler can't run. */
function orUserError<T extends object>(handler: string | undefined, answer: T | HandlerTrouble): T {
  if (!("error" in answer)) return answer;
  if (answer.error === "not_loaded")
    throw new UserError(`${handler} does not load, so it can't run:\n\n    ${answer.where}: ${answer.reason}`);
  const { handlers } = answer;
  const known = handlers.length === 0 ? "there is none yet: bun new user.created" : `there are ${handlers.join(", ")}`;
  throw new UserError(`There is no handler ${handler}${didYouMean(handler ?? "", handlers, `; ${known}`)}`);
}

/** Lines about runs that are left out, with the option that includes them. */
function describeLeftOut({ stale, wiped, gone }: Omit<ReplayCount, "found">): string[] {
  const line = (count: number, reason: string) =>
    count > 0 ? [`  ${count.toLocaleString("en")} more left out: ${reason}`] : [];
  return [
    ...line(stale, "a later event is done; --stale includes them"),
    ...line(wiped, "their payload is gone (one-time codes, or RETENTION_DAYS)"),
    ...line(gone, "their handler no longer exists"),
  ];
}

function describeProgress({ done, dead, skipped, waiting }: ReplayProgress): string {
  const parts = [
    `${done.toLocaleString("en")} done`,
    ...(skipped > 0 ? [`${skipped.toLocaleString("en")} skipped`] : []),
    `${dead.toLocaleString("en")} dead`,
    `${waiting.toLocaleString("en")} waiting${waiting > 0 ? " for a retry or behind one: the server continues with them" : ""}`,
  ];
  return parts.join(", ");
}
