// Replays many stored deliveries: a count, a question, then a job of the server and its progress. Ctrl-C stops the job;
// the runs that it has added continue.

import { endedRuns } from "../api/bulk-replay.ts";
import type { BulkJobJson, BulkRefusal, HandlerTrouble, ReplayCount, ReplayProgress } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { UserError } from "../errors.ts";
import { didYouMean } from "../suggest.ts";
import type { Client, Query } from "./api-client.ts";
import { createProgress } from "./progress.ts";

const POLL_MS = 50;
// As a shell reports a command that Ctrl-C has ended.
const EXIT_INTERRUPTED = 130;

/** The deliveries to replay. */
export interface BulkWork {
  /** The filter, and `stale`. */
  query: Query;
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
  const { query, handler } = work;
  const { found, ...leftOut } = orUserError(handler, await client.countReplay(query));
  console.log([work.describe(found), ...describeLeftOut(leftOut)].join("\n"));
  if (found === 0 || options.dryRun) return true;
  if (!options.yes && !isConfirmed(`Run ${found === 1 ? "it" : "them"} now?`)) {
    console.log("Nothing was run.");
    return false;
  }
  const starting = client.startBulk(query, found, options.rate);
  // From here on: the server may have started the job before its answer is here.
  const stop = () => void stopJob(client, starting).finally(() => process.exit(EXIT_INTERRUPTED));
  process.once("SIGINT", stop);
  try {
    const progress = await follow(client, orUserError(handler, await starting), found);
    console.log(describeProgress(progress));
    return progress.dead === 0 && progress.waiting === 0;
  } finally {
    process.off("SIGINT", stop);
  }
}

async function stopJob(client: Client, starting: ReturnType<Client["startBulk"]>) {
  const job = await starting;
  if (!("error" in job)) await client.stopBulk(job.id);
}

/** Shows the progress of a job until it is finished. */
async function follow(client: Client, started: BulkJobJson, found: number): Promise<ReplayProgress> {
  const bar = createProgress(found);
  try {
    for (let job: BulkJobJson | null = started; job; job = await client.bulkJob(started.id)) {
      bar.show(endedRuns(job.runs));
      if (job.reason !== null) throw new UserError(`The replay ended early: ${job.reason}`);
      if (job.isFinished) return job.runs;
      await Bun.sleep(POLL_MS);
    }
    throw new Error("it was restarted");
  } finally {
    bar.end();
  }
}

/** Asks on a terminal. Throws elsewhere, where no person can answer. */
export function isConfirmed(question: string): boolean {
  if (!process.stdin.isTTY)
    throw new UserError(
      "This is not a terminal, so no one can confirm: add --yes to run them, or --dry-run to only count them",
    );
  return confirm(question);
}

/** The answer, or a `UserError` with the reason why nothing runs. */
function orUserError<T extends object>(handler: string | undefined, answer: T | HandlerTrouble | BulkRefusal): T {
  if (!("error" in answer)) return answer;
  if ("message" in answer) throw new UserError(`${answer.message}.`);
  if (answer.error === "not_loaded")
    throw new UserError(`${handler} does not load, so it can't run:\n\n    ${answer.where}: ${answer.reason}`);
  const { handlers } = answer;
  const known =
    handlers.length === 0 ? `there is none yet: ${COMMAND} new user.created` : `there are ${handlers.join(", ")}`;
  throw new UserError(`Unknown handler ${handler}${didYouMean(handler ?? "", handlers, `; ${known}`)}`);
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
