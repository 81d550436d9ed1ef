// The server's logger: pretty for people in dev, JSON lines in start. The only file that imports pino.

import pino, { type LogFn, type Logger } from "pino";

import type { Config } from "./config.ts";
import { readError } from "./failures/error-record.ts";
import { createLogOutput, type LogOutput } from "./log-output.ts";
import { printableJson, printableLines } from "./printable.ts";
import { redactText } from "./redact.ts";

export type { Logger } from "pino";

const WARN = 40;
const outputs = new WeakMap<Logger, LogOutput>();

export async function createLogger({ logFormat, logLevel }: Pick<Config, "logFormat" | "logLevel">): Promise<Logger> {
  let errors: LogOutput | undefined;
  const output = createLogOutput({
    onFailed(reason) {
      errors ??= createLogOutput({ fd: 2 });
      errors.write(`Bellhop's log can't be written to standard output: ${reason}\n`);
    },
    onDropped: (count, reason) => logDropped(log, count, reason),
  });
  const options = {
    level: logLevel,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: errorOf, stack: (stack: unknown) => (typeof stack === "string" ? redactText(stack) : stack) },
    hooks: {
      // Errors may quote their input. Other lines contain only ids, types and counts.
      logMethod(args: Parameters<LogFn>, method: LogFn, level: number) {
        const texts = args as unknown[];
        if (level >= WARN)
          for (const [at, text] of texts.entries()) if (typeof text === "string") texts[at] = redactText(text);
        method.apply(this as unknown as Logger, args);
      },
    },
  };
  const format = logFormat === "json" ? printableJson : await prettyFormat(logLevel);
  const destination = { ...output, write: (line: string) => output.write(format(line)) };
  const log = pino(options, destination);
  outputs.set(log, output);
  return log;
}

/** Why the log can't be written now, such as ENOSPC. */
export function logTrouble(log: Logger): string | undefined {
  return outputs.get(log)?.trouble;
}

/** Formats a line of JSON for people. Texts are untrusted: they may come from a handler, an error or a request. */
async function prettyFormat(logLevel: Config["logLevel"]): Promise<(line: string) => string> {
  const { prettyFactory } = await import("pino-pretty");
  // A line of fields after each message would hide the messages. LOG_LEVEL=debug shows the fields.
  const shown = logLevel === "debug" ? { ignore: "stack,code" } : { include: "level,time,msg,err" };
  const format = prettyFactory({ translateTime: "SYS:HH:MM:ss", singleLine: true, ...shown });
  return (line) => format(JSON.parse(line, (_, value) => (typeof value === "string" ? printableLines(value) : value)));
}

function logDropped(log: Logger, count: number, reason: string) {
  log.error({ count, reason }, `${count} log lines are missing here: the log could not be written (${reason})`);
}

/** Only the standard properties of an error: a handler may have attached a payload, and reading it may throw. */
function errorOf(thrown: unknown) {
  const { name: type, message, stack, causes } = readError(thrown).error;
  return {
    type,
    message: redactText(message),
    ...(stack !== undefined && { stack: redactText(stack) }),
    ...(causes && { causes: causes.map((cause) => ({ ...cause, message: redactText(cause.message) })) }),
  };
}
