// Tools that change something: they send, run and replay. The server refuses them without MCP_WRITE=1.

import { Type as t } from "@sinclair/typebox";

import type { BulkJobJson, ReplayCount, ReplayedJson, SentJson } from "../api/types.ts";
import type { RunCommand } from "./run-command.ts";
import { type Ask, defineTool, type Tool, ToolError } from "./tool.ts";

const id = t.String({ description: "The delivery's id: msg_…" });
const handler = t.Optional(t.String({ description: "Only this handler: user.created/crm" }));

export function writeTools(ask: Ask, runCommand: RunCommand): Tool[] {
  return [
    defineTool({
      name: "send_sample",
      description: "Sends a signed sample event to this server. Its handlers run as for a real one.",
      input: t.Object({
        event: t.String({ description: "user.created, …" }),
        data: t.Optional(
          t.Record(t.String(), t.Unknown(), { description: "Fields of data that replace the sample's" }),
        ),
      }),
      isWrite: true,
      async call({ event, data }) {
        const body = { event, ...(data && { data }) };
        const { id, status } = await ask<SentJson>("/send", { method: "POST", body });
        return `Sent as ${id}, answered ${status}. explain_run shows what its handlers did.`;
      },
    }),
    defineTool({
      name: "try_handler",
      description:
        "Runs the current code of a handler on a stored delivery and rolls back what it wrote through `db`. " +
        "What it does elsewhere (fetch, clerk) is real.",
      input: t.Object({ id, handler }),
      isWrite: true,
      call: ({ id, handler }) => runCommand(["try", "--", id, ...(handler === undefined ? [] : [handler])]),
    }),
    defineTool({
      name: "replay",
      description:
        "Runs a stored delivery again, or all dead runs of a problem. Without confirm: true, it only reports what would " +
        "run: show that to the user and ask. What handlers do outside of `db` happens a second time.",
      input: t.Object({
        id: t.Optional(id),
        handler,
        dead: t.Optional(t.Boolean({ description: "Only the handlers whose latest run of the delivery is dead" })),
        problem: t.Optional(t.String({ description: "Instead of a delivery, a problem: p_…" })),
        confirm: t.Optional(t.Boolean({ description: "The user has agreed to this replay" })),
        runs: t.Optional(
          t.Integer({ description: "With a problem and confirm: the number of runs that was reported" }),
        ),
      }),
      isWrite: true,
      async call({ id, handler, dead, problem, confirm = false, runs }) {
        if ((id === undefined) === (problem === undefined)) throw new ToolError("Give an id or a problem");
        if (!confirm) {
          const query = problem ? { problem } : { id, handler, stale: true, ...(dead && { state: "dead" }) };
          const { found } = await ask<ReplayCount>("/replays", { query });
          const again = problem ? `confirm: true and runs: ${found}` : "confirm: true";
          return `Not replayed yet: this would start ${found} runs. Ask the user, then repeat with ${again}.`;
        }
        if (id === undefined) {
          await ask<BulkJobJson>("/bulk", { method: "POST", query: { problem, expected: runs } });
          return `The dead runs of ${problem} are being replayed. list_problems shows when it is resolved.`;
        }
        const path = `/deliveries/${encodeURIComponent(id)}/replay`;
        const { replay, handlers } = await ask<ReplayedJson>(path, { method: "POST", query: { handler, dead } });
        return `Replay ${replay} has started: ${handlers.join(", ")}. explain_run shows how it ends.`;
      },
    }),
  ];
}
