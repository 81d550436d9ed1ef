// The help texts: the overview of all commands, and the arguments of one. On a terminal they fit its width.

import { styleText } from "node:util";

import type { ArgDef, ArgsDef, CommandMeta } from "citty";

import { COMMAND } from "../command.ts";
import { terminalWidth } from "./format-table.ts";

const GAP = 2;
// A narrower column would be harder to read than lines that the terminal wraps.
const MIN_TEXT_WIDTH = 40;

interface Group {
  [command: string]: { description: string };
}

/** Groups of commands with their descriptions: the first one is what a newcomer needs. */
export function overview(groups: Record<string, Group>, columns = terminalWidth()): string {
  const names = Object.values(groups).flatMap((commands) => Object.keys(commands));
  const width = Math.max(...names.map((name) => `${COMMAND} ${name}`.length));
  const sections = Object.entries(groups).map(([title, commands]) => {
    const rows = Object.entries(commands).map(
      ([name, { description }]) => [`${COMMAND} ${name}`, description] as const,
    );
    return `${heading(title)}\n${listing(rows, width, columns)}`;
  });
  return [
    "Bellhop carries Clerk's webhooks to your code.",
    ...sections,
    `Help for one command: ${COMMAND} send --help`,
  ].join("\n\n");
}

/** The description of one command, and its arguments. */
export function commandHelp(
  { name = "", description = "" }: CommandMeta,
  args: ArgsDef,
  columns = terminalWidth(),
): string {
  const rows = Object.entries(args).map(([argument, definition]) => ({
    isOption: definition.type !== "positional",
    cells: [usageOf(argument, definition), textOf(definition)] as const,
  }));
  const width = Math.max(0, ...rows.map(({ cells: [usage] }) => usage.length));
  const [options = [], plain = []] = [true, false].map((isOption) =>
    rows.filter((row) => row.isOption === isOption).map(({ cells }) => cells),
  );
  return [
    heading(`${name}${positionals(args)}`) + (options.length > 0 ? " [options]" : ""),
    `${description}.`,
    listing(plain, width, columns),
    listing(options, width, columns),
  ]
    .filter(Boolean)
    .join("\n\n");
}

/** ` <required> [optional]`: the arguments without a name, as they are typed after the command. */
export function positionals(args: ArgsDef): string {
  return Object.entries(args)
    .filter(([, { type }]) => type === "positional")
    .map(([name, { required }]) => (required ? ` <${name}>` : ` [${name}]`))
    .join("");
}

/** `--data json`: an argument as it is typed. */
export function usageOf(name: string, { type, valueHint }: ArgDef): string {
  if (type === "positional") return name;
  return type === "boolean" ? `--${name}` : `--${name} ${valueHint ?? `<${name}>`}`;
}

/** The description of an argument, with its default. */
export function textOf({ description = "", type, default: value }: ArgDef): string {
  return type === "boolean" || value === undefined ? description : `${description} (default: ${String(value)})`;
}

/** Two columns. A text that is longer than the terminal is wide continues in its own column. */
function listing(rows: readonly (readonly [string, string])[], width: number, columns = Infinity): string {
  const indent = " ".repeat(GAP + width + GAP);
  const room = columns - indent.length;
  return rows
    .map(([left, right]) => {
      const text = room < MIN_TEXT_WIDTH || room === Infinity ? right : Bun.wrapAnsi(right, room);
      return `${" ".repeat(GAP)}${left.padEnd(width + GAP)}${text.replaceAll("\n", `\n${indent}`)}`;
    })
    .join("\n");
}

function heading(text: string): string {
  return styleText("bold", text, { stream: process.stdout });
}
