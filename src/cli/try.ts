// `bun try msg_… [handler]` runs the current code of a handler on a stored delivery, in a transaction that is rolled
// back. Effects outside the transaction are real.

import type { ClerkClient } from "@clerk/backend";
import { defineCommand } from "citty";

import type { DeliveryJson } from "../api/types.ts";
import { createClerk } from "../clerk/client.ts";
import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { count } from "../count.ts";
import { type Effects, openEffects } from "../db/effects.ts";
import type { RanQuery } from "../db/template.ts";
import { dryRun } from "../dispatch/dry-run.ts";
import { formatDuration } from "../duration.ts";
import { messageOf, UserError } from "../errors.ts";
import { errorText } from "../failures/error-record.ts";
import { loadErrorText } from "../handlers/load-error.ts";
import { type Code, type Handler, type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import type { Outcome } from "../inbox/inbox.ts";
import { printable, printableLines } from "../printable.ts";
import { connectOrOpen } from "./connect.ts";
import { describeStack } from "./describe.ts";
import { configOrUserError } from "./serve.ts";

const INDENT = "      ";

export const tryHandler = defineCommand({
  meta: { name: `${COMMAND} try`, description: "Run a handler on a stored delivery, and roll back what it wrote" },
  args: {
    id: { type: "positional", description: "The delivery: msg_…", required: true },
    handler: { type: "positional", description: "Only this handler: user.created/crm", required: false },
  },
  async run({ args: { id, handler: name } }) {
    const config = configOrUserError(processEnvironment(), "dev");
    // Close the inbox before the handler runs, which may take long: a server may want to start.
    const delivery = await connectOrOpen(config).then(async (client) => {
      await using opened = client;
      return await opened.get(id, true);
    });
    if (!delivery) throw new UserError(`${id} is not stored here`);
    const table = await loadHandlers(config.handlersDir, (error) => reportLate(errorText(error)));
    using _closing = { [Symbol.dispose]: () => table.release() };
    const chosen = choose(table, delivery, name);
    let isDone = true;
    const clerk = await createClerk(config);
    await using effects = await openEffects(config.database);
    for (const handler of chosen) isDone = (await tryOne(handler, delivery, effects, clerk)) && isDone;
    console.log("\n`db` was rolled back. What a handler did elsewhere (clerk, fetch) is not undone.");
    // Exit explicitly: timers and sockets that the handlers' modules opened keep the process alive.
    process.exit(isDone ? 0 : 1);
  },
});

function choose(
  table: HandlerTable,
  { id, type, payload }: DeliveryJson,
  name: string | undefined,
): (Handler & { code: Code })[] {
  if (typeof payload !== "string") throw new UserError(`${id} has no payload any more, so no handler can run on it`);
  const matching = table.match(type);
  const chosen = matching.filter((handler) => name === undefined || handler.name === name);
  if (chosen.length === 0)
    throw new UserError(
      matching.length === 0
        ? `No handler runs for ${type}: write one with ${COMMAND} new`
        : `No handler ${name} runs for ${type}. Handlers that do: ${matching.map((handler) => handler.name).join(", ")}`,
    );
  return chosen.map((handler) => {
    const { error, code } = handler;
    if (error) throw new UserError(loadErrorText(table.dir, error));
    if (!code) throw new UserError(`${handler.name} does not load`);
    return { ...handler, code };
  });
}

async function tryOne(
  handler: Handler & { code: Code },
  delivery: DeliveryJson,
  effects: Effects,
  clerk: ClerkClient | undefined,
): Promise<boolean> {
  const { outcome, queries } = await dryRun({
    handler,
    delivery,
    body: new TextEncoder().encode(delivery.payload ?? ""),
    effects,
    clerk,
    onLate: reportLate,
  });
  console.log(describeTry(handler.name, delivery, outcome, queries));
  return outcome?.kind === "done";
}

function reportLate(message: string) {
  console.error(printableLines(`not caught: ${message}`));
}

export function describeTry(
  handler: string,
  { id, type, subject }: Pick<DeliveryJson, "id" | "type" | "subject">,
  outcome: Outcome | undefined,
  queries: readonly RanQuery[],
): string {
  const record = outcome && "record" in outcome ? outcome.record : undefined;
  const result =
    outcome?.kind === "done"
      ? "✓ done"
      : outcome?.kind === "dead"
        ? `✗ dead: ${printable(outcome.reason)}`
        : "✗ failed";
  const error = record?.error && [describeStack(record.error)];
  const log = (record?.log ?? []).map(({ level, message }) =>
    printableLines(level === "info" ? message : `${level}: ${message}`, INDENT),
  );
  const width = Math.max(0, ...queries.map(({ text }) => text.length));
  const sql = queries.map(({ text, rows, error: failed }) => {
    const result = failed ? `failed: ${messageOf(failed)}` : count(rows ?? 0, "row");
    return `${printable(text).padEnd(Math.min(width, 80))}   ${printableLines(result, INDENT)}`;
  });
  const part = (title: string, lines: readonly string[] = []) =>
    lines.length === 0 ? [] : [`  ${title}`, ...lines.map((line) => INDENT + line)];
  return [
    `${handler} on ${id} (${printable(subject === null ? type : `${type} of ${subject}`)})`,
    `  ${result} in ${formatDuration(record?.took ?? 0)}`,
    ...part("log", log),
    ...part("sql, rolled back", sql),
    ...part("error", error),
  ].join("\n");
}
