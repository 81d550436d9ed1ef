// The command line: finds the command, checks its arguments, and turns errors into messages and exit codes.

import { parseArgs } from "node:util";

import { type ArgsDef, type CommandDef, type CommandMeta, runCommand } from "citty";

import { version } from "../../package.json";
import { COMMAND } from "../command.ts";
import { messageOf, UserError } from "../errors.ts";
import { printableLines } from "../printable.ts";
import { didYouMean } from "../suggest.ts";
import { commandHelp, overview } from "./help.ts";
import type { OpenServer } from "./serve.ts";

// Each command has arguments of its own; citty types a list of them with `any` as well.
type AnyCommand = CommandDef<any>;

interface Command {
  description: string;
  load: (openServer: OpenServer) => Promise<AnyCommand>;
}

/** Every command, in the groups of the overview. It is loaded when it is used. */
export const commandGroups: Record<string, Record<string, Command>> = {
  "Start with these": {
    dev: {
      description: "run the server while you write handlers",
      load: async (open) => (await import("./serve.ts")).dev(open),
    },
    send: { description: "send a signed sample event", load: async () => (await import("./send.ts")).send },
    new: { description: "write a handler file", load: async () => (await import("./new.ts")).newHandler },
    deliveries: {
      description: "list stored deliveries, or show one in full",
      load: async () => (await import("./deliveries.ts")).deliveries,
    },
    replay: {
      description: "replay a stored delivery, or all dead runs",
      load: async () => (await import("./replay.ts")).replay,
    },
  },
  "Write handlers": {
    init: { description: "add Bellhop to a project", load: async () => (await import("./init.ts")).init },
    handlers: {
      description: "list the handlers, and what is not loaded",
      load: async () => (await import("./handlers.ts")).handlers,
    },
    problems: {
      description: "list failures by their cause, or show one",
      load: async () => (await import("./problems.ts")).problems,
    },
    try: {
      description: "run a handler on a stored delivery, and roll back what it wrote",
      load: async () => (await import("./try.ts")).tryHandler,
    },
  },
  "Run it": {
    start: {
      description: "run the server in production",
      load: async (open) => (await import("./serve.ts")).start(open),
    },
    doctor: {
      description: "check this installation, and what it depends on",
      load: async () => (await import("./doctor.ts")).doctor,
    },
    pause: {
      description: "make the runs of a handler wait",
      load: async () => (await import("./pause.ts")).pause,
    },
    resume: {
      description: "let the runs of a paused handler continue",
      load: async () => (await import("./pause.ts")).resume,
    },
    alert: {
      description: "send a test alert to each target of ALERT_URLS",
      load: async () => (await import("./alert.ts")).alert,
    },
    erase: {
      description: "erase what is stored about a user",
      load: async () => (await import("./erase.ts")).eraseUser,
    },
    backup: {
      description: "copy the inbox and the handlers' database, while the server runs",
      load: async () => (await import("./backup.ts")).backup,
    },
    restore: {
      description: "put a backup in place, with the server stopped",
      load: async () => (await import("./restore.ts")).restore,
    },
    move: {
      description: "move the inbox to Postgres, or back, while no server runs",
      load: async () => (await import("./move.ts")).move,
    },
  },
  "The mirror": {
    backfill: {
      description: "copy what Clerk had before the first webhook into the mirror's tables",
      load: async () => (await import("./mirror-commands.ts")).backfillCommand,
    },
    drift: {
      description: "compare the mirror's tables with Clerk",
      load: async () => (await import("./mirror-commands.ts")).driftCommand,
    },
  },
};

export const commands: Record<string, Command> = Object.assign({}, ...Object.values(commandGroups));

/** Runs one command and sets the exit code. A `UserError` is printed without its stack. */
export async function runCli(argv: string[], openServer: OpenServer): Promise<void> {
  try {
    await runArguments(argv, openServer);
  } catch (error) {
    if (!(error instanceof UserError) && (error as Error).name !== "CLIError") throw error;
    // A message may quote a file, a response or a database.
    console.error(`${printableLines(messageOf(error), "")}\n`);
    process.exitCode = error instanceof UserError ? error.exitCode : 1;
  }
}

async function runArguments([name, ...args]: string[], openServer: OpenServer): Promise<void> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") return console.log(overviewHere());
  if (name === "--version" || name === "-v") return console.log(version);
  const command = commands[name];
  if (!command) {
    const remedy = didYouMean(name, Object.keys(commands), `\n\n${overviewHere()}`);
    throw new UserError(`There is no command ${name}${remedy}`);
  }
  const definition = await command.load(openServer);
  const expected = ((await definition.args) ?? {}) as ArgsDef;
  if (args.includes("--help") || args.includes("-h"))
    return console.log(commandHelp((await definition.meta) as CommandMeta, expected));
  checkArguments(name, args, expected);
  await runCommand(definition, { rawArgs: args });
}

/** citty ignores unknown options, so a mistyped `--cuont 100` would silently send one event. */
function checkArguments(command: string, args: string[], definition: ArgsDef) {
  const named = Object.entries(definition).filter(([, { type }]) => type !== "positional");
  const options = Object.fromEntries(
    named.map(([name, { type }]) => [name, { type: type === "boolean" ? ("boolean" as const) : ("string" as const) }]),
  );
  const { tokens } = parseArgs({ args, options, allowPositionals: true, strict: false, tokens: true });
  const expected = Object.entries(definition).filter(([, { type }]) => type === "positional");
  let positionals = expected.length;
  for (const token of tokens) {
    if (token.kind === "positional" && positionals-- === 0) throw new UserError(`Unexpected argument: ${token.value}`);
    if (token.kind !== "option") continue;
    const { name, rawName, value } = token;
    const known = Object.keys(options).map((option) => `--${option}`);
    if (!options[name]) throw new UserError(`There is no option ${rawName}${didYouMean(rawName, known)}`);
    if (options[name].type === "string" && value === undefined) throw new UserError(`${rawName} needs a value`);
  }
  const missing = expected
    .slice(expected.length - Math.max(positionals, 0))
    .find(([, { required }]) => required !== false);
  if (!missing) return;
  const [name, { description }] = missing;
  throw new UserError(`${COMMAND} ${command} needs <${name}>: ${description}\n\n    ${COMMAND} ${command} --help`);
}

function overviewHere(): string {
  // `bun init` is Bun's own command, and a clone needs no `init`.
  const { init: _init, ...others } = commandGroups["Write handlers"]!;
  return overview(COMMAND === "bun" ? { ...commandGroups, "Write handlers": others } : commandGroups);
}
