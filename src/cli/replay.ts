// `bun replay msg_…` runs a stored delivery again, on purpose, whatever ran before. Without an id it runs many:
// `--dead`, what a handler never saw (`--missing`), or all that fits `--handler`, `--type`, `--subject`, `--since`.

import { defineCommand } from "citty";

import { processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { type BulkWork, describeLeftOut, orExplain, runInBulk } from "./bulk.ts";
import { type Client, connect, waitForRuns, type Words } from "./client.ts";
import { describeRun, isFine } from "./describe.ts";
import { configOrExplain } from "./serve.ts";
import { readRate, readTime } from "./words.ts";

const WHY_NOT: Record<string, string> = {
  not_found: "is not stored here",
  no_handler: "has no handler: write one with bun new (bun start loads it at its next start)",
  wiped: "has no payload any more: it carried a one-time code, or RETENTION_DAYS are over",
};

const HOW = `    bun replay msg_…                                      one delivery again
    bun replay --dead                                     all runs that died, after you have mended the handler
    bun replay --type user.updated --since 2h             all deliveries that fit, in every handler
    bun replay --handler user.created/crm --missing       all that this handler never saw`;

export const replay = defineCommand({
  meta: { name: "bun replay", description: "Run a stored delivery again, or many of them" },
  args: {
    id: { type: "positional", description: "The delivery: msg_…", required: false },
    handler: { type: "string", description: "Only in this handler" },
    dead: { type: "boolean", description: "Runs that died" },
    missing: { type: "boolean", description: "Deliveries that the handler never saw" },
    type: { type: "string", description: 'Of this type: user.created, "user.*"' },
    subject: { type: "string", description: "About this object: user_…" },
    since: { type: "string", description: "Received in the last 7d, 12h, or since 2026-05-01", valueHint: "7d" },
    until: { type: "string", description: "Received before that", valueHint: "1h" },
    stale: { type: "boolean", description: "Also those that a later event of their subject has overtaken" },
    rate: { type: "string", description: "At most so many runs a second", valueHint: "20" },
    yes: { type: "boolean", description: "Without a question" },
    "dry-run": { type: "boolean", description: "Only count them" },
  },
  async run({ args }) {
    checkWords(args);
    const times = { since: readTime("since", args.since), until: readTime("until", args.until) };
    const { yes = false, "dry-run": dryRun = false } = args;
    const words = { yes, dryRun, rate: readRate(args.rate) };
    const { dataDir } = configOrExplain(processEnvironment(), "dev");
    const client = await connect(dataDir);
    if (!client) throw new UserError(`No server runs on ${dataDir}. Start one, then ask again: bun dev`);
    const fine = args.id
      ? await replayOne(client, args.id, args.handler)
      : await untilGone(() =>
          runInBulk(client, args.missing ? missing(client, args, times) : fitting(client, args, times), words),
        );
    process.exitCode = fine ? 0 : 1;
  },
});

type Args = Record<"id" | "handler" | "type" | "subject" | "since" | "until" | "rate", string | undefined> &
  Record<"dead" | "missing" | "stale" | "yes" | "dry-run", boolean | undefined>;

/** In milliseconds. */
type Times = Record<"since" | "until", number | undefined>;

/** Words that make no sense together are refused before anything is asked. */
function checkWords(args: Partial<Args>) {
  const narrowing = (["dead", "missing", "type", "subject", "since", "until"] as const).filter((name) => args[name]);
  const bulk = [...narrowing, ...(["stale", "rate", "yes", "dry-run"] as const).filter((name) => args[name])];
  if (args.id && bulk.length > 0)
    throw new UserError(`${args.id} is one delivery, --${bulk[0]} is for many: give one of the two\n\n${HOW}`);
  if (!args.id && narrowing.length === 0 && !args.handler) throw new UserError(`Which deliveries?\n\n${HOW}`);
  if (args.missing && !args.handler)
    throw new UserError(`--missing needs a --handler: whose deliveries are missing?\n\n${HOW}`);
  const unfit = (["dead", "type", "subject", "until"] as const).find((name) => args[name]);
  if (args.missing && unfit)
    throw new UserError(`--${unfit} does not go with --missing: give one of the two\n\n${HOW}`);
  if (args.yes && args["dry-run"])
    throw new UserError("--dry-run runs nothing, so there is nothing to say --yes to: leave one out");
}

function missing(client: Client, { handler = "", since, stale }: Partial<Args>, times: Times): BulkWork {
  const query = { handler, since: times.since, stale };
  return {
    handler,
    async count() {
      const { event, found, ...leftOut } = orExplain(handler, await client.missing(query));
      const which = `${event === "*" ? "" : ` of ${event}`}${describeTimes({ since })}`;
      const says = `${deliveries(found)}${which} never went through ${handler}.`;
      return { says: [says, ...describeLeftOut(leftOut)].join("\n"), found };
    },
    add: async (after) => orExplain(handler, await client.addMissing(query, after)),
  };
}

function fitting(client: Client, args: Partial<Args>, times: Times): BulkWork {
  const { handler, dead, type, subject, stale } = args;
  const query: Words = { handler, dead, type, subject, stale, ...times };
  // One for the whole command: a step that is asked for twice adds nothing twice.
  const id = crypto.randomUUID();
  return {
    async count() {
      const { found, ...leftOut } = orExplain(handler, await client.replayable(query));
      const of = [type && ` of ${type}`, subject && ` about ${subject}`, handler && ` in ${handler}`].filter(Boolean);
      const none = dead ? "No run is dead" : "Nothing is stored that fits";
      const what = found === 0 ? none : dead ? `${runs(found)} died` : `${runs(found)} would go again`;
      const says = `${what}${of.join("")}${describeTimes(args)}.`;
      return { says: [says, ...describeLeftOut(leftOut)].join("\n"), found };
    },
    add: async (after, limit) => orExplain(handler, await client.addReplays(query, id, after, limit)),
  };
}

function describeTimes({ since, until }: Partial<Args>): string {
  const past = (text: string) => /^[\d.]+\s*[a-z]+$/.test(text);
  const from = since === undefined ? "" : past(since) ? ` of the last ${since}` : ` since ${since}`;
  return `${from}${until === undefined ? "" : past(until) ? `, up to ${until} ago` : `, before ${until}`}`;
}

async function replayOne(client: Client, id: string, handler: string | undefined): Promise<boolean> {
  const answer = await client.replay(id, handler);
  if ("error" in answer) {
    if (answer.error === "no_handler" && handler)
      throw new UserError(`${handler} is no handler for ${id}: bun handlers lists them, each with its event`);
    throw new UserError(`${id} ${WHY_NOT[answer.error] ?? answer.error}`);
  }
  console.log(`Replaying ${id}`);
  const runs = await waitForRuns(client, id, answer.replay);
  for (const run of runs) console.log(describeRun(run));
  return runs.every(isFine);
}

/** The server may stop, or its disk be full, while the command waits. */
async function untilGone(work: () => Promise<boolean>): Promise<boolean> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError) throw error;
    const why = (error as Error).message;
    throw new UserError(`The server did not go on (${why}). What it has stored it runs; for the rest, ask once more.`);
  }
}

function deliveries(count: number): string {
  return `${count.toLocaleString("en")} stored ${count === 1 ? "delivery" : "deliveries"}`;
}

function runs(count: number): string {
  return `${count.toLocaleString("en")} ${count === 1 ? "run" : "runs"}`;
}
