// `bun replay msg_…` runs a stored delivery again, on purpose, whatever ran before.

import { defineCommand } from "citty";

import { processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { connect, describeRun, isFine, waitForRuns } from "./client.ts";
import { configOrExplain } from "./serve.ts";

const WHY_NOT: Record<string, string> = {
  not_found: "is not stored here",
  no_handler: "has no handler: write one with bun new, and start the server again",
  wiped: "carried a one-time code, and its payload was wiped",
};

export const replay = defineCommand({
  meta: { name: "bun replay", description: "Run a stored delivery again" },
  args: {
    id: { type: "positional", description: "The delivery: msg_…", required: true },
    handler: { type: "string", description: "Only this handler" },
  },
  async run({ args: { id, handler } }) {
    const { dataDir } = configOrExplain(processEnvironment(), "dev");
    const client = await connect(dataDir);
    if (!client) throw new UserError(`No server runs on ${dataDir}. Start one, then ask again: bun dev`);
    const answer = await client.replay(id, handler);
    if ("error" in answer) throw new UserError(`${id} ${WHY_NOT[answer.error] ?? answer.error}`);
    console.log(`Replaying ${id}`);
    const runs = await waitForRuns(client, id, answer.replay);
    for (const run of runs) console.log(describeRun(run));
    process.exitCode = runs.every(isFine) ? 0 : 1;
  },
});
