// `bun pause user.created/crm` makes the runs of a handler wait, `bun resume` ends that. `bun pause` lists paused handlers.

import { defineCommand } from "citty";

import type { HandlerTrouble, PausesJson } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { formatDuration, formatTime } from "../duration.ts";
import { UserError } from "../errors.ts";
import { printable } from "../printable.ts";
import { didYouMean } from "../suggest.ts";
import type { Client } from "./api-client.ts";
import { connectOrOpen } from "./connect.ts";
import { pausedBy } from "./describe.ts";
import { formatTable } from "./format-table.ts";
import { refuseOptions } from "./options.ts";
import { configOrUserError } from "./serve.ts";

export const pause = defineCommand({
  meta: { name: `${COMMAND} pause`, description: "Make the runs of a handler wait, or list paused handlers" },
  args: {
    handler: { type: "positional", description: "A handler: user.created/crm", required: false },
    reason: { type: "string", description: "Shown wherever the handler is listed", valueHint: '"the CRM migrates"' },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args: { handler, reason, json } }) {
    if (!handler)
      refuseOptions({ reason }, ["reason"], `needs a handler: ${COMMAND} pause user.created/crm --reason …`);
    await using client = await connectOrOpen(configOrUserError(processEnvironment(), "dev"));
    if (!handler) {
      const { paused } = await client.pauses();
      return console.log(json ? JSON.stringify(paused, null, 2) : describePauses(paused));
    }
    const answer = await client.pause(handler, reason);
    if ("error" in answer) throw unknown(handler, answer);
    if (json) return console.log(JSON.stringify({ handler, ...answer }, null, 2));
    console.log(
      answer.changed
        ? `${handler} is paused: its runs wait, and no attempt is counted. To continue: ${COMMAND} resume ${handler}`
        : `${handler} was paused already. To continue: ${COMMAND} resume ${handler}`,
    );
  },
});

export const resume = defineCommand({
  meta: { name: `${COMMAND} resume`, description: "Let the runs of a paused handler continue" },
  args: { handler: { type: "positional", description: "A handler: user.created/crm", required: true } },
  async run({ args: { handler } }) {
    await using client = await connectOrOpen(configOrUserError(processEnvironment(), "dev"));
    const { changed } = await client.resume(handler);
    if (changed) return console.log(`${handler} continues.`);
    throw new UserError(`${handler} is not paused. ${await otherPauses(client)}`);
  },
});

export function describePauses(paused: PausesJson["paused"], now = Date.now()): string {
  if (paused.length === 0) return "No handler is paused.";
  const rows = paused.map(({ handler, cause, reason, since, probeAt }) => [
    handler,
    pausedBy(cause),
    `since ${formatTime(since)}`,
    probeAt === null ? "" : `tries a run in ${formatDuration(Math.max(0, probeAt - now))}`,
    printable(reason ?? ""),
  ]);
  return formatTable(rows);
}

async function otherPauses(client: Client): Promise<string> {
  const { paused } = await client.pauses();
  return paused.length === 0 ? "No handler is." : `Paused: ${paused.map(({ handler }) => handler).join(", ")}`;
}

function unknown(handler: string, trouble: HandlerTrouble): UserError {
  const known = trouble.error === "unknown_handler" ? trouble.handlers : [];
  return new UserError(`Unknown handler ${handler}${didYouMean(handler, known, `; there are ${known.join(", ")}`)}`);
}
