// `bun handlers` lists what is in the folder, and why something is not loaded.

import { defineCommand } from "citty";

import { processEnvironment } from "../config.ts";
import type { Handler, HandlerTable } from "../handlers/loader.ts";
import { loadHandlers } from "../handlers/loader.ts";

export const handlers = defineCommand({
  meta: { name: "bun handlers", description: "List the handlers, and what is not loaded" },
  args: {
    check: { type: "boolean", description: "Exit with 1 when a file does not load: for deploys" },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args: { check, json } }) {
    const dir = processEnvironment().HANDLERS_DIR?.trim() || "handlers";
    const table = await loadHandlers(dir, () => undefined);
    console.log(json ? JSON.stringify(toJson(table), null, 2) : describeTable(table));
    const bad = table.handlers.some(({ error }) => error) || table.notHandlers.some(({ quiet }) => !quiet);
    // What the handlers' modules opened (timers, sockets) would keep this command from ending.
    process.exit(check && bad ? 1 : 0);
  },
});

export function describeTable({ dir, handlers, notHandlers }: HandlerTable): string {
  const rows = handlers.map((handler) => [
    handler.error ? "✗" : "✓",
    handler.file,
    handler.event,
    describeOptions(handler),
  ]);
  const troubles = handlers.flatMap(({ error, warning, file }) => {
    if (error)
      return [
        `✗ ${dir}/${error.where}\n    ${error.message.replaceAll("\n", "\n    ")}${error.source ? `\n\n        ${error.source}` : ""}`,
      ];
    return warning ? [`! ${dir}/${file}\n    ${warning}`] : [];
  });
  const others = notHandlers.map(({ file, reason, quiet }) => `${quiet ? "·" : "✗"} ${file}: ${reason}`);
  const none = rows.length === 0 ? `No handlers in ${dir}/ yet. Write one: bun new user.created` : "";
  return [none, align(rows), troubles.join("\n\n"), others.join("\n")].filter(Boolean).join("\n\n");
}

function describeOptions({ options, error }: Handler): string {
  if (error) return "not loaded";
  return Object.entries(options)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join(", ");
}

function align(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function toJson({ handlers, notHandlers }: HandlerTable) {
  return { handlers: handlers.map(({ code: _code, ...handler }) => handler), notHandlers };
}
