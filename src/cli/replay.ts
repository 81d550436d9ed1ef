// `bun replay msg_…` runs a stored delivery again, on purpose, whatever ran before.
// `bun replay --handler … --missing` runs those that a handler never saw.

import { defineCommand } from "citty";

import { processEnvironment } from "../config.ts";
import { parseDuration } from "../duration.ts";
import { UserError } from "../errors.ts";
import { type Client, connect, describeRun, isFine, waitForRuns } from "./client.ts";
import { replayMissing } from "./missing.ts";
import { configOrExplain } from "./serve.ts";

const WHY_NOT: Record<string, string> = {
  not_found: "is not stored here",
  no_handler: "has no handler: write one with bun new (bun start loads it at its next start)",
  wiped: "carried a one-time code, and its payload was wiped",
};

const HOW = `    bun replay msg_…                                      one delivery again
    bun replay --handler user.created/crm --missing       all that this handler never saw`;

export const replay = defineCommand({
  meta: { name: "bun replay", description: "Run a stored delivery again, or those that a handler never saw" },
  args: {
    id: { type: "positional", description: "The delivery: msg_…", required: false },
    handler: { type: "string", description: "Only this handler" },
    missing: { type: "boolean", description: "All stored deliveries that the handler never saw" },
    since: { type: "string", description: "With --missing: only those of the last 7d, 12h", valueHint: "7d" },
    stale: { type: "boolean", description: "With --missing: also those that a later event has overtaken" },
    yes: { type: "boolean", description: "With --missing: run them without a question" },
    "dry-run": { type: "boolean", description: "With --missing: only count them" },
  },
  async run({ args }) {
    const asked = readWords(args);
    const { dataDir } = configOrExplain(processEnvironment(), "dev");
    const client = await connect(dataDir);
    if (!client) throw new UserError(`No server runs on ${dataDir}. Start one, then ask again: bun dev`);
    const fine = "id" in asked ? await replayOne(client, asked.id, args.handler) : await untilGone(client, asked);
    process.exitCode = fine ? 0 : 1;
  },
});

interface Words {
  id?: string | undefined;
  handler?: string | undefined;
  missing?: boolean | undefined;
  since?: string | undefined;
  stale?: boolean | undefined;
  yes?: boolean | undefined;
  "dry-run"?: boolean | undefined;
}

type MissingAsked = Parameters<typeof replayMissing>[1];

/** Words that make no sense together are refused before anything is asked. */
function readWords(words: Words): { id: string } | MissingAsked {
  const { id, handler, missing, since, stale = false, yes = false, "dry-run": dryRun = false } = words;
  if (!missing) {
    const lonely = (["since", "stale", "yes", "dry-run"] as const).find((name) => words[name]);
    if (lonely) throw new UserError(`--${lonely} goes with --missing:\n\n${HOW}`);
    if (!id) throw new UserError(`Which delivery?\n\n${HOW}`);
    return { id };
  }
  if (id) throw new UserError(`${id} is one delivery, --missing looks for all: give one of the two\n\n${HOW}`);
  if (!handler) throw new UserError(`--missing needs a --handler: whose deliveries are missing?\n\n${HOW}`);
  if (yes && dryRun) throw new UserError("--dry-run runs nothing, so there is nothing to say --yes to: leave one out");
  return { handler, stale, yes, dryRun, ...(since !== undefined && { since: receivedAfter(since), sinceText: since }) };
}

function receivedAfter(since: string): number {
  try {
    return Date.now() - parseDuration(since);
  } catch {
    throw new UserError(`--since is ${since}, expected how long ago: 7d, 12h or 30m`);
  }
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
async function untilGone(client: Client, asked: MissingAsked): Promise<boolean> {
  try {
    return await replayMissing(client, asked);
  } catch (error) {
    if (error instanceof UserError) throw error;
    const why = (error as Error).message;
    throw new UserError(`The server did not go on (${why}). What it has stored it runs; for the rest, ask once more.`);
  }
}
