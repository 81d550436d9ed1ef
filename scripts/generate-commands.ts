// Writes the commands and their options, as the command line defines them, into docs/commands.md:
//
//     bun scripts/generate-commands.ts

import { join, resolve } from "node:path";

import type { ArgDef, ArgsDef } from "citty";

import { commands } from "../src/cli/cli.ts";

const PAGE = join(resolve(import.meta.dir, ".."), "docs/commands.md");
const BEGIN = "<!-- commands: written by `bun scripts/generate-commands.ts` -->";
const END = "<!-- /commands -->";

/** The text of docs/commands.md with the commands of today. */
export async function commandsPage(): Promise<string> {
  const [before, rest] = (await Bun.file(PAGE).text()).split(BEGIN);
  const [, after] = rest?.split(END) ?? [];
  if (before === undefined || after === undefined) throw new Error(`${PAGE} must contain ${BEGIN}, then ${END}`);
  const sections = await Promise.all(Object.keys(commands).map(section));
  return `${before}${BEGIN}\n\n${sections.join("\n\n")}\n\n${END}${after}`;
}

async function section(name: string): Promise<string> {
  const { description, load } = commands[name]!;
  const definition = await load(() => Promise.reject(new Error("no server is opened to list options")));
  const args = Object.entries(((await definition.args) ?? {}) as ArgsDef);
  const positional = args.flatMap(([argument, { type, required }]) => {
    if (type !== "positional") return [];
    return required ? [` <${argument}>`] : [` [${argument}]`];
  });
  const rows = args.map(([argument, definition]) => `- ${usage(argument, definition)}: ${textOf(definition)}`);
  const list = rows.length === 0 ? "" : `\n\n${rows.join("\n")}`;
  // A clone has Bellhop already.
  const command = `${name === "init" ? "bunx bellhop" : "bun"} ${name}`;
  return `## ${command}\n\n\`${command}${positional.join("")}\`: ${description}.${list}`;
}

function usage(name: string, { type, valueHint }: ArgDef): string {
  if (type === "positional") return `\`${name}\``;
  return type === "boolean" ? `\`--${name}\`` : `\`--${name} ${valueHint ?? `<${name}>`}\``;
}

/** The description of an argument, with its default. Options are written as code. */
function textOf({ description = "", type, default: value }: ArgDef): string {
  const text = description
    .replaceAll(/(?<!\S)(--[a-z-]+)/g, "`$1`")
    .replaceAll(/'(\{[^']*\})'/g, "`'$1'`")
    .replaceAll(/"[^"]*\*[^"]*"/g, "`$&`");
  return type === "boolean" || value === undefined ? text : `${text} (default: ${String(value)})`;
}

if (import.meta.main) await Bun.write(PAGE, await commandsPage());
