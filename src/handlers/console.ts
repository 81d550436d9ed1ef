// The handlers' `console`: output goes to the log of the current run. Outside of a run it goes to the terminal, without
// the native console, whose writes block the server while the terminal does not read.

import { format } from "node:util";

import { createLogOutput, type LogOutput } from "../log-output.ts";
import { currentRun } from "./context.ts";

type Level = "debug" | "info" | "warn" | "error";

const LEVELS: Record<string, Level> = {
  debug: "debug",
  dir: "info",
  error: "error",
  info: "info",
  log: "info",
  trace: "debug",
  warn: "warn",
};

const printOutput = createPrinter(1);
const printError = createPrinter(2);

/** A console whose lines belong to the current run. */
export function createConsole(): Console {
  const own = Object.fromEntries(
    Object.entries(LEVELS).map(([method, level]) => [
      method,
      (...parts: unknown[]) => {
        const run = currentRun.getStore();
        if (run) (run.log[level] as (...parts: unknown[]) => void)(...parts);
        else (level === "warn" || level === "error" ? printError : printOutput)(...parts);
      },
    ]),
  );
  own.table = (rows) => own.log?.(Bun.inspect.table(rows as object));
  return Object.assign(Object.create(console) as Console, own);
}

function createPrinter(fd: number): (...parts: unknown[]) => void {
  let output: LogOutput | undefined;
  return (...parts) => {
    output ??= createLogOutput({ fd });
    output.write(`${format(...parts)}\n`);
  };
}
