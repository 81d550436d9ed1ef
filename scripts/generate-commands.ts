// Writes the commands and their options, as the command line defines them, into docs/commands.md:
//
//     bun scripts/generate-commands.ts

import { join, resolve } from "node:path";

import type { ArgDef, ArgsDef } from "citty";

import { commandGroups, commands } from "../src/cli/cli.ts";
import { positionals, textOf, usageOf } from "../src/cli/help.ts";

const PAGE = join(resolve(import.meta.dir, ".."), "docs/commands.md");
const BEGIN = "<!-- commands: written by `bun scripts/generate-commands.ts` -->";
const END = "<!-- /commands -->";

/** The text of docs/commands.md with the commands of today. */
export async function commandsPage(): Promise<string> {
  const [before, rest] = (await Bun.file(PAGE).text()).split(BEGIN);
  const [, after] = rest?.split(END) ?? [];
  if (before === undefined || after === undefined) throw new Error(`${PAGE} must contain ${BEGIN}, then ${END}`);
  const groups = await Promise.all(Object.entries(commandGroups).map(group));
  return `${before}${BEGIN}\n\n${groups.join("\n\n")}\n\n${END}${after}`;
}

async function group([title, commandsOfGroup]: [string, object]): Promise<string> {
  const sections = await Promise.all(Object.keys(commandsOfGroup).map(section));
  return `## ${title}\n\n${sections.join("\n\n")}`;
}

async function section(name: string): Promise<string> {
  const { description, load } = commands[name]!;
  const definition = await load(() => Promise.reject(new Error("no server is opened to list options")));
  const args = ((await definition.args) ?? {}) as ArgsDef;
  const rows = Object.entries(args).map(([argument, arg]) => `- \`${usageOf(argument, arg)}\`: ${asCode(arg)}`);
  const list = rows.length === 0 ? "" : `\n\n${rows.join("\n")}`;
  // A clone has Bellhop already.
  const command = `${name === "init" ? "bunx bellhop" : "bun"} ${name}`;
  return `### ${command}\n\n\`${command}${positionals(args)}\`: ${description}.${list}`;
}

/** Options in the text are written as code. */
function asCode(definition: ArgDef): string {
  return textOf(definition)
    .replaceAll(/(?<!\S)(--[a-z-]+)/g, "`$1`")
    .replaceAll(/'(\{[^']*\})'/g, "`'$1'`")
    .replaceAll(/"[^"]*\*[^"]*"/g, "`$&`");
}

if (import.meta.main) await Bun.write(PAGE, await commandsPage());
