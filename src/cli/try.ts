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
import { runAttempt } from "../dispatch/attempt.ts";
import { errorText } from "../dispatch/error-record.ts";
import { createTimeouts } from "../dispatch/timeout.ts";
import { formatDuration } from "../duration.ts";
import { messageOf, UserError } from "../errors.ts";
import { loadErrorText } from "../handlers/load-error.ts";
import { type Code, type Handler, type HandlerTable, loadHandlers } from "../handlers/loader.ts";
import type { ClaimedRun, Outcome } from "../inbox/inbox.ts";
import { printable, printableLines } from "../printable.ts";
import { connectOrOpen } from "./api-client.ts";
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
  const names = matching.map((handler) => handler.name).join(", ") || "none";
  if (chosen.length === 0)
    throw new UserError(`There is no handler ${name ?? ""} for ${type}; there are: ${names}`.replace("  ", " "));
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
  const queries: RanQuery[] = [];
  const shutdown = new AbortController().signal;
  const outcome = await runAttempt({
    run: runOf(delivery, handler.name),
    // Two attempts, so that an ordinary failure shows as failed and not as dead.
    handler: { ...handler, options: { ...handler.options, attempts: 2 } },
    code: handler.code,
    clerk,
    effects: rolledBack(effects, (query) => queries.push(query)),
    timeouts: createTimeouts(shutdown),
    watchdog: { enter: (_, call) => call(), running: () => () => undefined, stop: () => undefined },
    shutdown,
    now: Date.now,
    print: () => undefined,
    onLate: reportLate,
  });
  console.log(describeTry(handler.name, delivery, outcome, queries));
  return outcome?.kind === "done";
}

/** The same effects, with a rollback in place of each commit. */
function rolledBack(effects: Effects, onQuery: (query: RanQuery) => void): Effects {
  return {
    ...effects,
    transaction(options) {
      const transaction = effects.transaction({ ...options, onQuery });
      return {
        db: transaction.db,
        get used() {
          return transaction.used;
        },
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

/** A run as if the inbox had claimed it. Its replay id gives it an `idempotencyKey` of its own. */
function runOf({ payload, ...stored }: DeliveryJson, handler: string): ClaimedRun {
  const { id, type, subject, receivedAt, receipts, sample, at } = stored;
  return {
    run: 0,
    attempt: 1,
    handler,
    orderKey: "",
    owner: "try",
    spent: 0,
    interrupted: 0,
    exclusive: false,
    replay: `try-${crypto.randomUUID()}`,
    stale: false,
    delivery: { id, arrival: 0, type, subject, receivedAt, receipts, sample, at, sensitive: false },
    body: new TextEncoder().encode(payload ?? ""),
  };
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
