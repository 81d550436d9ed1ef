// One version of the handlers' code, in a `Bun.ModuleGraph` of its own: what it opens belongs to it and goes with it.
// The only file that knows the graph. A version is disposed of when nobody holds it any longer, and not before:
// a call in flight in a disposed graph never settles.

import * as bellhop from "../bellhop.ts";
import { createConsole } from "./console.ts";

export interface Version {
  /** Loads a file and what it imports, afresh. */
  import(path: string): Promise<{ default?: unknown }>;
  /** Calls into the version's own context: what is opened there is the version's, and so are late errors. */
  enter<T>(call: () => T): T;
  /** Keeps it alive until the returned function is called; twice is once. */
  hold(): () => void;
}

/** What handlers throw when nobody is there to catch it. */
export type OnLateError = (error: unknown) => void;

/** A new version, held once: by whoever made it. */
export function createVersion(onError: OnLateError): { version: Version; release: () => void } {
  shareBellhop();
  refuseExit();
  const graph = new Bun.ModuleGraph({ onError, globals: { console: createConsole() } });
  let holders = 0;
  const version: Version = {
    import: (path) => graph.import<{ default?: unknown }>(path),
    enter: (call) => graph.run(call),
    hold() {
      holders += 1;
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        holders -= 1;
        if (holders === 0) graph.dispose();
      };
    },
  };
  return { version, release: version.hold() };
}

let shared = false;

/** In the graph, they would be second copies, and `instanceof NonRetriableError` false: hand out these. */
function shareBellhop() {
  if (shared) return;
  shared = true;
  Bun.plugin({
    name: "bellhop",
    setup(build) {
      build.module("bellhop", () => ({ exports: { ...bellhop }, loader: "object" }));
      // Loaded when somebody wants it.
      build.module("bellhop/mirror", async () => ({
        exports: { ...(await import("../mirror/mirror.ts")) },
        loader: "object",
      }));
    },
  });
}

let exitRefused = false;

/** `process.exit()` in a handler fails its run and stops nobody else. */
function refuseExit() {
  if (exitRefused) return;
  exitRefused = true;
  const exit = process.exit.bind(process);
  process.exit = (code) => {
    if (Bun.ModuleGraph.current === undefined) return exit(code);
    throw new Error(`a handler called process.exit(${code ?? ""}); throw an error to fail the run`);
  };
}
