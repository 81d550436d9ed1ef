// `bun try msg_… [handler]` runs a handler on a stored delivery, with the code as it is now, in a transaction that is
// rolled back. What it does elsewhere is real.

import type { ClerkClient } from "@clerk/backend";
import { defineCommand } from "citty";

import { createClerk } from "../clerk/client.ts";
import { processEnvironment } from "../config.ts";
import { runAttempt } from "../dispatch/attempt.ts";
import type { RanQuery } from "../dispatch/db.ts";
import { type Effects, openEffects } from "../dispatch/effects.ts";
import { createTimeouts } from "../dispatch/timeout.ts";
import { formatDuration } from "../duration.ts";
import { UserError } from "../errors.ts";
import { type Code, type Handler, type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import type { Outcome, Ticket } from "../inbox/inbox.ts";
import type { DeliveryJson } from "../inspector/app.ts";
import { connectOrOpen } from "./client.ts";
import { configOrExplain } from "./serve.ts";

export const tryHandler = defineCommand({
  meta: { name: "bun try", description: "Run a handler on a stored delivery, and roll back what it wrote" },
  args: {
    id: { type: "positional", description: "The delivery: msg_…", required: true },
    handler: { type: "positional", description: "Only this handler: user.created/crm", required: false },
  },
  async run({ args: { id, handler: name } }) {
    const config = configOrExplain(processEnvironment(), "dev");
    // Closed again before the handler runs: it may take its time, and a server may want to start.
    const delivery = await connectOrOpen(config).then(async (client) => {
      await using opened = client;
      return await opened.get(id, true);
    });
    if (!delivery) throw new UserError(`${id} is not stored here`);
    const table = await loadHandlers(config.handlersDir, (error) => console.error("not caught:", error));
    using _closing = { [Symbol.dispose]: () => table.release() };
    const chosen = choose(table, delivery, name);
    let fine = true;
    const clerk = await createClerk(config);
    await using effects = await openEffects(config.database);
    for (const handler of chosen) fine = (await tryOne(handler, delivery, effects, clerk)) && fine;
    console.log("\n`db` was rolled back. What a handler did elsewhere (clerk, fetch) is not undone.");
    // What the handlers' modules opened would keep this command from ending.
    process.exit(fine ? 0 : 1);
  },
});

function choose(
  table: HandlerTable,
  { id, type, payload }: DeliveryJson,
  name: string | undefined,
): (Handler & { code: Code })[] {
  if (typeof payload !== "string") throw new UserError(`${id} has no payload any more, so nothing can run on it`);
  const matching = table.match(type);
  const chosen = matching.filter((handler) => name === undefined || handler.name === name);
  const names = matching.map((handler) => handler.name).join(", ") || "none";
  if (chosen.length === 0)
    throw new UserError(`There is no handler ${name ?? ""} for ${type}; there are: ${names}`.replace("  ", " "));
  return chosen.map((handler) => {
    const { error, code } = handler;
    if (error) throw new UserError(`${table.dir}/${error.where} does not load: ${error.message}`);
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
  const queries: RanQuery[] = [];
  const shutdown = new AbortController().signal;
  const outcome = await runAttempt({
    ticket: ticketOf(delivery, handler.name),
    // Whatever it has left in the inbox: here, a failure is a failure.
    handler: { ...handler, options: { ...handler.options, attempts: 2 } },
    code: handler.code,
    clerk,
    effects: rolledBack(effects, (query) => queries.push(query)),
    timeouts: createTimeouts(shutdown),
    watchdog: { enter: (_, call) => call(), running: () => () => undefined, stop: () => undefined },
    shutdown,
    now: Date.now,
    print: () => undefined,
    onLate: (says) => console.error("not caught:", says),
  });
  console.log(describeTry(handler.name, delivery, outcome, queries));
  return outcome?.kind === "done";
}

/** As the real ones, but that what would be committed is rolled back. */
function rolledBack(effects: Effects, onQuery: (query: RanQuery) => void): Effects {
  return {
    ...effects,
    transaction(options) {
      const transaction = effects.transaction({ ...options, onQuery });
      return {
        db: transaction.db,
        get hindrance() {
          return transaction.hindrance;
        },
        finish: () => transaction.finish(),
        commit: () => transaction.rollback(),
        rollback: () => transaction.rollback(),
      };
    },
  };
}

function ticketOf({ payload, runs: _, headers: __, ...delivery }: DeliveryJson, handler: string): Ticket {
  // A replay of its own: it is on purpose, and has an `idempotencyKey` that nothing else has.
  const replay = `try-${crypto.randomUUID()}`;
  const counts = { run: 0, attempt: 1, spent: 0, interrupted: 0, alone: false, stale: false };
  return { ...counts, handler, replay, delivery, body: new TextEncoder().encode(payload ?? "") };
}

export function describeTry(
  handler: string,
  { id, type, subject }: Pick<DeliveryJson, "id" | "type" | "subject">,
  outcome: Outcome | undefined,
  queries: readonly RanQuery[],
): string {
  const record = outcome && "record" in outcome ? outcome.record : undefined;
  const how = outcome?.kind === "done" ? "✓ done" : outcome?.kind === "dead" ? `✗ dead: ${outcome.reason}` : "✗ failed";
  const error = record?.error && (record.error.stack ?? record.error.message).split("\n").slice(0, 6);
  const log = (record?.log ?? []).map(({ level, message }) => (level === "info" ? message : `${level}: ${message}`));
  const width = Math.max(0, ...queries.map(({ text }) => text.length));
  const sql = queries.map(({ text, rows, error: failed }) => {
    const count = failed
      ? `failed: ${failed instanceof Error ? failed.message : Bun.inspect(failed)}`
      : `${rows} ${rows === 1 ? "row" : "rows"}`;
    return `${text.padEnd(Math.min(width, 80))}   ${count}`;
  });
  const part = (title: string, lines: readonly string[] = []) =>
    lines.length === 0 ? [] : [`  ${title}`, ...lines.map((line) => `      ${line}`)];
  return [
    `${handler} on ${id} (${type}${subject === null ? "" : ` of ${subject}`})`,
    `  ${how} in ${formatDuration(record?.took ?? 0)}`,
    ...part("log", log),
    ...part("sql, rolled back", sql),
    ...part("error", error),
  ].join("\n");
}
