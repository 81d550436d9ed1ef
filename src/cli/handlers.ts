// `bun handlers` lists the handlers, and why a file does not load. `--check` also applies the SQL files in a database
// or transaction that is thrown away, and exits with 1 on any problem.

import { defineCommand } from "citty";

import type { PausesJson } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { type Environment, handlersDirOf, processEnvironment, readConfig } from "../config.ts";
import { checkSchema } from "../db/effects.ts";
import { DatabaseUrlError, parseDatabaseUrl } from "../db/url.ts";
import { messageOf, UserError } from "../errors.ts";
import { type Handler, type HandlerTable, loadHandlers, schemaOf } from "../handlers/loader.ts";
import { printable, printableLines } from "../printable.ts";
import { connect } from "./connect.ts";
import { describePause } from "./describe.ts";
import { formatTable } from "./format-table.ts";

export const handlers = defineCommand({
  meta: { name: `${COMMAND} handlers`, description: "List the handlers, and files that do not load" },
  args: {
    check: {
      type: "boolean",
      description: "Also try the SQL files, and exit with 1 on any problem: for deploys",
    },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args: { check, json } }) {
    const env = processEnvironment();
    const dir = handlersDirOf(env);
    const table = await loadHandlers(dir, () => undefined);
    const sql = check ? await trySql(table, env) : undefined;
    if (json) console.log(JSON.stringify({ ...toJson(table), ...sql }, null, 2));
    else {
      const paused = check ? [] : await pausedOnServer(env);
      console.log([describeTable(table, paused), ...(sql ? describeSql(sql) : [])].join("\n\n"));
    }
    // Exit explicitly: timers and sockets that the handlers' modules opened keep the process alive.
    process.exit(sql && !isGood(table, sql) ? 1 : 0);
  },
});

/** The handlers that are paused on the server that runs here. Without one nothing runs, and the list needs no database. */
async function pausedOnServer(env: Environment): Promise<PausesJson["paused"]> {
  const read = readConfig(env, "dev");
  if ("problems" in read) return [];
  const client = await connect(read.config.dataDir);
  return (await client?.pauses().catch(() => undefined))?.paused ?? [];
}

/** The SQL files that can be applied, and the errors of the others. */
interface Tried {
  applied: string[];
  mistakes: string[];
}

async function trySql(table: HandlerTable, env: Environment): Promise<Tried> {
  const schema = schemaOf(table);
  if (!schema) return { applied: [], mistakes: [] };
  const text = env.DATABASE_URL?.trim();
  try {
    const steps = await checkSchema(text ? parseDatabaseUrl(text) : { kind: "sqlite", filename: ":memory:" }, schema);
    return {
      applied: steps.filter(({ mistake, name }) => mistake === undefined && name !== "").map(({ name }) => name),
      mistakes: steps.filter(({ mistake }) => mistake !== undefined).map(({ mistake }) => messageOf(mistake)),
    };
  } catch (error) {
    const reason = `${error instanceof DatabaseUrlError ? "" : "can't be used: "}${messageOf(error)}`;
    throw new UserError(`The SQL files can't be tried on DATABASE_URL, which ${reason}`);
  }
}

function describeSql({ applied, mistakes }: Tried): string[] {
  const lines = [...applied.map((name) => `✓ ${name}`), ...mistakes.map((mistake) => `✗ ${mistake}`)];
  return lines.length > 0 ? [lines.join("\n")] : [];
}

function isGood({ handlers, notHandlers }: HandlerTable, { mistakes }: Tried): boolean {
  return (
    handlers.length > 0 &&
    handlers.every(({ error, warning }) => !error && !warning) &&
    notHandlers.every(({ quiet }) => quiet) &&
    mistakes.length === 0
  );
}

export function describeTable({ dir, handlers, notHandlers }: HandlerTable, paused: PausesJson["paused"] = []): string {
  const rows = handlers.map((handler) => [
    handler.error ? "✗" : "✓",
    handler.file,
    handler.event,
    [describeOptions(handler), paused.some((pause) => pause.handler === handler.name) && "paused"]
      .filter(Boolean)
      .join(", "),
  ]);
  const problems = handlers.flatMap(({ error, warning, file }) => {
    if (error)
      return [
        `✗ ${dir}/${error.where}\n    ${printableLines(error.message)}${error.source ? `\n\n        ${printable(error.source)}` : ""}`,
      ];
    return warning ? [`! ${dir}/${file}\n    ${warning}`] : [];
  });
  const others = notHandlers.map(({ file, reason, quiet }) => `${quiet ? "·" : "✗"} ${file}: ${reason}`);
  const none = rows.length === 0 ? `No handlers in ${dir}/ yet. Write one: ${COMMAND} new user.created` : "";
  return [
    none,
    formatTable(rows, { shrink: [3], isBad: (index) => handlers[index]?.error !== undefined }),
    problems.join("\n\n"),
    paused.map(describePause).join("\n"),
    others.join("\n"),
  ]
    .filter(Boolean)
    .join("\n\n");
}

function describeOptions({ options, error }: Handler): string {
  if (error) return "not loaded";
  return Object.entries(options)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join(", ");
}

function toJson({ handlers, notHandlers }: HandlerTable) {
  return { handlers: handlers.map(({ code: _code, ...handler }) => handler), notHandlers };
}
