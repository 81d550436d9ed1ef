// One version of the handlers' code, in its own `Bun.ModuleGraph`: what the code opens is closed with the version.
// The only file that uses the graph. A version is disposed of after its last hold is released, never before: a call in
// flight in a disposed graph never settles.

import * as bellhop from "../index.ts";
import type { BellhopOptions } from "../mount/bellhop-options.ts";
import { createConsole } from "./console.ts";
import { keepGlobals, rememberHostGlobals } from "./globals.ts";
import { guardProcess, removeListeners } from "./process.ts";

export interface Version {
  /** Loads a file and its imports, without what other versions have loaded. */
  import(path: string): Promise<{ default?: unknown }>;
  /** Calls in the version's context: it owns what `call` opens, and its late errors. */
  enter<T>(call: () => T): T;
  /** Keeps the version alive until the returned function is called. Further calls do nothing. */
  hold: () => () => void;
}

/** Receives an uncaught error of a handler. */
export type OnLateError = (error: unknown) => void;

/** A new version, held by its creator until all files are loaded. */
export function createVersion(onError: OnLateError): { version: Version; release: () => void } {
  shareBellhop();
  guardProcess(() => Bun.ModuleGraph.current);
  rememberHostGlobals();
  // New globals were created by the code that ran until now.
  keepGlobals(newest);
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
        if (holders === 0) keepGlobals([version.hold, ...newest]);
        if (holders > 0) return;
        if (newest[0] === version.hold) newest = [];
        removeListeners(graph);
        graph.dispose();
      };
    },
  };
  const release = version.hold();
  return {
    version,
    release() {
      keepGlobals([version.hold]);
      newest = [version.hold];
      release();
    },
  };
}

/** The version that was loaded last. */
let newest: Version["hold"][] = [];

/** Modules that are loaded when a handler imports them. */
const OPTIONAL: Record<string, () => Promise<object>> = {
  "bellhop/mirror": () => import("../mirror/mirror.ts"),
  "bellhop/drizzle": () => needs("drizzle-orm", import("../adapters/drizzle.ts")),
  "bellhop/kysely": () => needs("kysely", import("../adapters/kysely.ts")),
};

async function needs(name: string, adapter: Promise<object>): Promise<object> {
  try {
    return await adapter;
  } catch (cause) {
    if (!String(cause).includes(`'${name}`)) throw cause;
    throw new Error(`the package ${name} is not installed: bun add ${name}`, { cause });
  }
}

/** Modules of an application import it, too: the plugin replaces "bellhop" for the whole process, not only for handlers. */
const createBellhop = async (options?: BellhopOptions) =>
  (await import("../mount/create-bellhop.ts")).createBellhop(options);

let shared = false;

/** Provides the server's own modules. A second copy in the graph would make `instanceof NonRetriableError` false. */
function shareBellhop() {
  if (shared) return;
  shared = true;
  Bun.plugin({
    name: "bellhop",
    setup(build) {
      build.module("bellhop", () => ({ exports: { ...bellhop, createBellhop }, loader: "object" }));
      for (const [name, load] of Object.entries(OPTIONAL))
        build.module(name, async () => ({ exports: { ...(await load()) }, loader: "object" }));
    },
  });
}
