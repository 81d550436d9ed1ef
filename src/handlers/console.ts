// `console` as handlers see it: what they print goes to the log of the run that prints it.

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

/** A console whose lines belong to the current run; outside of a run it is the ordinary one. */
export function createConsole(): Console {
  const own = Object.fromEntries(
    Object.entries(LEVELS).map(([method, level]) => [
      method,
      (...parts: unknown[]) => {
        const run = currentRun.getStore();
        if (run) (run.log[level] as (...parts: unknown[]) => void)(...parts);
        else console[level](...parts);
      },
    ]),
  );
  own.table = (rows) => own.log?.(Bun.inspect.table(rows as object));
  return Object.assign(Object.create(console) as Console, own);
}
