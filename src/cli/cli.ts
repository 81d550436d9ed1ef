// What you type: finds the command, checks its words, and turns mistakes into sentences and exit codes.

import { type ArgsDef, type CommandDef, renderUsage, runCommand } from "citty";

import { suggest } from "../clerk/events.ts";
import { UserError } from "../errors.ts";
import type { OpenServer } from "./serve.ts";

// Each command has arguments of its own; citty types a list of them with `any` as well.
type AnyCommand = CommandDef<any>;

/** Every command; loaded only when it is typed. */
export const commands: Record<string, { says: string; load: (openServer: OpenServer) => Promise<AnyCommand> }> = {
  dev: {
    says: "run the server while you write handlers",
    load: async (open) => (await import("./serve.ts")).dev(open),
  },
  start: { says: "run the server in production", load: async (open) => (await import("./serve.ts")).start(open) },
  send: { says: "send a signed sample event", load: async () => (await import("./send.ts")).send },
  new: { says: "write a handler file", load: async () => (await import("./new.ts")).newHandler },
  handlers: {
    says: "list the handlers, and what is not loaded",
    load: async () => (await import("./handlers.ts")).handlers,
  },
  deliveries: {
    says: "list what is stored, or show one delivery whole",
    load: async () => (await import("./deliveries.ts")).deliveries,
  },
  replay: {
    says: "run a stored delivery again, or all that died",
    load: async () => (await import("./replay.ts")).replay,
  },
  try: {
    says: "run a handler on a stored delivery, and roll back what it wrote",
    load: async () => (await import("./try.ts")).tryHandler,
  },
  backfill: {
    says: "fetch the users who were there before into the mirror's tables",
    load: async () => (await import("./backfill.ts")).backfillCommand,
  },
  drift: {
    says: "compare the mirror's tables with Clerk",
    load: async () => (await import("./drift.ts")).driftCommand,
  },
};

/** Runs one command. Sets the exit code; a mistake of the user's is printed without a stack. */
export async function runCli(argv: string[], openServer: OpenServer): Promise<void> {
  try {
    await runWords(argv, openServer);
  } catch (error) {
    if (!(error instanceof UserError) && (error as Error).name !== "CLIError") throw error;
    console.error(`${(error as Error).message}\n`);
    process.exitCode = error instanceof UserError ? error.exitCode : 1;
  }
}

async function runWords([name, ...words]: string[], openServer: OpenServer): Promise<void> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") return console.log(overview());
  const command = commands[name];
  if (!command) {
    const meant = suggest(name, Object.keys(commands));
    throw new UserError(`There is no command ${name}${meant ? `; did you mean ${meant}?` : ""}\n\n${overview()}`);
  }
  const definition = await command.load(openServer);
  if (words.includes("--help") || words.includes("-h")) return console.log(plainIfPiped(await renderUsage(definition)));
  checkWords(words, (await definition.args) as ArgsDef);
  await runCommand(definition, { rawArgs: words });
}

/** citty ignores what it does not know; a mistyped `--cuont 100` should not send one event and say nothing. */
function checkWords(words: string[], args: ArgsDef = {}) {
  const known = Object.keys(args);
  const positional = Object.values(args).filter(({ type }) => type === "positional").length;
  let plain = 0;
  let value = false;
  for (const word of words) {
    const flag = /^--([^=]+)(=)?/.exec(word);
    if (flag) {
      const name = flag[1] ?? "";
      if (!known.includes(name)) {
        const meant = suggest(name, known);
        throw new UserError(`There is no option --${name}${meant ? `; did you mean --${meant}?` : ""}`);
      }
      value = args[name]?.type !== "boolean" && !flag[2];
    } else if (value) value = false;
    else if (++plain > positional) throw new UserError(`One word too many: ${word}`);
  }
  if (value) throw new UserError(`${words.at(-1)} needs a value`);
}

/** citty colours its help, whoever reads it. */
function plainIfPiped(text: string): string {
  return process.stdout.isTTY ? text : Bun.stripANSI(text);
}

function overview(): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length));
  const rows = Object.entries(commands).map(([name, { says }]) => `  bun ${name.padEnd(width)}   ${says}`);
  return `Bellhop carries Clerk's webhooks to your code.\n\n${rows.join("\n")}\n\nMore about one of them: bun send --help`;
}
