// `bun replay msg_…` replays a stored delivery. Without an id it replays many: dead runs (`--dead`), deliveries that a
// handler never saw (`--missing`), or all that `--handler`, `--type`, `--subject` and `--since` select.

import { defineCommand } from "citty";

import { isPartlyDead } from "../api/latest-runs.ts";
import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { count } from "../count.ts";
import { messageOf, UserError } from "../errors.ts";
import { readName } from "../handlers/names.ts";
import type { Client } from "./api-client.ts";
import { type BulkWork, isConfirmed, runInBulk } from "./bulk.ts";
import { connect, connectShared } from "./connect.ts";
import { describeRun, isSuccessful } from "./describe.ts";
import { readRate, readTime } from "./options.ts";
import { configOrUserError } from "./serve.ts";
import { waitForRuns } from "./wait-for-runs.ts";

const MAX_LOST_SHOWN = 10;

const REFUSALS: Record<string, string> = {
  not_found: "is not stored here",
  no_handler: `has no handler: write one with ${COMMAND} new (${COMMAND} start loads it at the next start)`,
  wiped: "has no payload: it contained a one-time code, or is older than RETENTION_DAYS",
};

const EXAMPLES = `    ${COMMAND} replay msg_…                                      one delivery
    ${COMMAND} replay --dead                                     all runs that died, after you have fixed the handler
    ${COMMAND} replay --problem p_…                              only those that died of one problem
    ${COMMAND} replay --type user.updated --since 2h             all matching deliveries, in every handler
    ${COMMAND} replay --handler user.created/crm --missing       all deliveries that this handler never saw
    ${COMMAND} replay --lost                                     all runs that a restored database lacks`;

export const replay = defineCommand({
  meta: { name: `${COMMAND} replay`, description: "Replay a stored delivery, or many of them" },
  args: {
    id: { type: "positional", description: "The delivery: msg_…", required: false },
    handler: { type: "string", description: "Only in this handler" },
    all: { type: "boolean", description: "With an id: also in the handlers that succeeded" },
    dead: { type: "boolean", description: "Runs that died" },
    problem: {
      type: "string",
      description: `Runs that died of this problem, as in ${COMMAND} problems`,
      valueHint: "p_…",
    },
    lost: {
      type: "boolean",
      description: "Runs that are done and missing in the handlers' database, as after a restore",
    },
    missing: { type: "boolean", description: "Deliveries that the handler never saw" },
    type: { type: "string", description: 'Of this type: user.created, "user.*"' },
    subject: { type: "string", description: "About this object: user_…" },
    since: { type: "string", description: "Received in the last 7d, 12h, or since 2026-05-01", valueHint: "7d" },
    until: { type: "string", description: "Received before this time", valueHint: "1h" },
    stale: { type: "boolean", description: "Also deliveries with a later event of the same subject" },
    rate: { type: "string", description: "Maximum runs per second", valueHint: "20" },
    yes: { type: "boolean", description: "Do not ask for confirmation" },
    "dry-run": { type: "boolean", description: "Only count them" },
  },
  async run({ args }) {
    checkOptions(args);
    const times = { since: readTime("since", args.since), until: readTime("until", args.until) };
    const { yes = false, "dry-run": dryRun = false } = args;
    const options = { yes, dryRun, rate: readRate(args.rate) };
    const config = configOrUserError(processEnvironment(), "dev");
    const { dataDir } = config;
    await using client = (await connectShared(config)) ?? (await connect(dataDir));
    if (!client)
      throw new UserError(`No server runs on ${dataDir}. Start one, then run this command again: ${COMMAND} dev`);
    const work = args.missing ? neverSeen(args, times) : selected(args, times);
    const { id } = args;
    const isDone = await withServerErrors(() =>
      args.lost ? replayLost(client, options) : id ? replayOne(client, id, args) : runInBulk(client, work, options),
    );
    process.exitCode = isDone ? 0 : 1;
  },
});

type Args = Record<"id" | "handler" | "problem" | "type" | "subject" | "since" | "until" | "rate", string | undefined> &
  Record<"all" | "dead" | "lost" | "missing" | "stale" | "yes" | "dry-run", boolean | undefined>;

/** Unix times in milliseconds. */
type Times = Record<"since" | "until", number | undefined>;

/** Refuses options that contradict each other. */
function checkOptions(args: Partial<Args>) {
  const given = (
    ["id", "handler", "dead", "problem", "missing", "type", "subject", "since", "until", "stale", "rate"] as const
  ).find((name) => args[name]);
  if (args.lost && given)
    throw new UserError(`--lost replays all lost runs: leave ${given === "id" ? args.id : `--${given}`} out`);
  if (args.lost) return checkQuestion(args);
  const filters = (["dead", "problem", "missing", "type", "subject", "since", "until"] as const).filter(
    (name) => args[name],
  );
  const bulk = [...filters, ...(["stale", "rate", "yes", "dry-run"] as const).filter((name) => args[name])];
  if (args.id && bulk.length > 0)
    throw new UserError(`${args.id} is one delivery, --${bulk[0]} is for many: give one of the two\n\n${EXAMPLES}`);
  if (args.all && (!args.id || args.handler))
    throw new UserError(`--all needs one delivery and no --handler\n\n${EXAMPLES}`);
  if (!args.id && filters.length === 0 && !args.handler) throw new UserError(`Which deliveries?\n\n${EXAMPLES}`);
  if (args.missing && !args.handler)
    throw new UserError(`--missing needs a --handler, whose missing deliveries it replays\n\n${EXAMPLES}`);
  const conflict = (["dead", "problem", "type", "subject", "until"] as const).find((name) => args[name]);
  if (args.missing && conflict)
    throw new UserError(`--${conflict} can't be combined with --missing: give one of the two\n\n${EXAMPLES}`);
  checkQuestion(args);
}

function checkQuestion(args: Partial<Args>) {
  if (args.yes && args["dry-run"]) throw new UserError("--dry-run runs nothing, so --yes has no effect: leave one out");
}

/** Deliveries that the handler never saw. */
function neverSeen({ handler = "", since, stale }: Partial<Args>, times: Times): BulkWork {
  return {
    query: { neverSeenBy: handler, since: times.since, stale },
    handler,
    describe(found) {
      const name = readName(`${handler}.ts`);
      const ofEvent = !("event" in name) || name.event === "*" ? "" : ` of ${name.event}`;
      return `${count(found, "stored delivery", "stored deliveries")}${ofEvent}${describeTimes({ since })} never went through ${handler}.`;
    },
  };
}

/** Deliveries that the filter selects; with `--dead`, their dead runs. */
function selected(args: Partial<Args>, times: Times): BulkWork {
  const { handler, problem, type, subject, stale } = args;
  const dead = args.dead === true || problem !== undefined;
  return {
    query: { handler, problem, type, subject, ...times, stale, state: dead ? "dead" : undefined },
    // One id for the whole command, so that a repeated step adds nothing twice.
    handler,
    describe(found) {
      const parts = [
        problem && ` of ${problem}`,
        type && ` of ${type}`,
        subject && ` about ${subject}`,
        handler && ` in ${handler}`,
      ];
      const none = dead ? "No run is dead" : "No stored delivery matches";
      const what = found === 0 ? none : dead ? `${count(found, "run")} died` : `To replay: ${count(found, "run")}`;
      return `${what}${parts.filter(Boolean).join("")}${describeTimes(args)}.`;
    },
  };
}

function describeTimes({ since, until }: Partial<Args>): string {
  const isAgo = (text: string) => /^[\d.]+\s*[a-z]+$/.test(text);
  const from = since === undefined ? "" : isAgo(since) ? ` of the last ${since}` : ` since ${since}`;
  return `${from}${until === undefined ? "" : isAgo(until) ? `, up to ${until} ago` : `, before ${until}`}`;
}

/** Without a handler or `all`: only the handlers whose run died if others succeeded, otherwise every handler. */
async function replayOne(client: Client, id: string, { handler, all }: Partial<Args>): Promise<boolean> {
  const stored = handler || all ? undefined : await client.get(id);
  const dead = stored !== undefined && isPartlyDead(stored.runs);
  const answer = await client.replay(id, { handler, ...(dead && { dead }) });
  if ("error" in answer) {
    if (answer.error === "no_handler" && handler)
      throw new UserError(`${handler} does not handle ${id}: ${COMMAND} handlers lists the handlers and their events`);
    throw new UserError(`${id} ${REFUSALS[answer.error] ?? answer.error}`);
  }
  const only = dead ? ` in ${answer.handlers.join(", ")}, which died; in every handler: --all` : "";
  console.log(`Replaying ${id}${only}`);
  const replayed = await waitForRuns(client, id, { replay: answer.replay });
  for (const run of replayed) console.log(describeRun(run));
  return replayed.every(isSuccessful);
}

/** Replays runs that are done in the inbox and missing in the handlers' database. */
async function replayLost(client: Client, { yes, dryRun }: { yes: boolean; dryRun: boolean }): Promise<boolean> {
  const { runs } = await client.lost();
  if (runs.length === 0) {
    console.log("No run is lost: all runs that are done are in the handlers' database.");
    return true;
  }
  console.log(`${count(runs.length, "run is", "runs are")} done and missing in the handlers' database:`);
  for (const { delivery, handler } of runs.slice(0, MAX_LOST_SHOWN)) console.log(`  ${delivery}  ${handler}`);
  if (runs.length > MAX_LOST_SHOWN) console.log(`  and ${(runs.length - MAX_LOST_SHOWN).toLocaleString("en")} more`);
  if (dryRun) return true;
  if (!yes && !isConfirmed("Replay them now? Effects outside of db, such as an e-mail, are repeated.")) {
    console.log("Nothing was run.");
    return false;
  }
  let left = 0;
  for (const { delivery, handler } of runs) {
    const answer = await client.replay(delivery, { handler });
    if (!("error" in answer)) continue;
    left += 1;
    console.log(`  ${delivery} can't be replayed in ${handler}: ${answer.error}`);
  }
  console.log(`${(runs.length - left).toLocaleString("en")} replayed; ${COMMAND} deliveries shows their results.`);
  return left === 0;
}

/** Reports a server that stops, or whose disk is full, while the command waits. */
async function withServerErrors(work: () => Promise<boolean>): Promise<boolean> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `The server failed (${messageOf(error)}). It runs the replays it has stored; for the rest, run this command again.`,
    );
  }
}
