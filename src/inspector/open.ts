// Decides whether the inspector runs, and on which port.

import { join } from "node:path";

import type { Config } from "../config.ts";
import { UserError } from "../errors.ts";
import { type Inspector, type InspectorOptions, startInspector } from "./server.ts";

// A developer may run the servers of several projects, each with an inspector.
const OTHER_PORTS = 10;

/** Always on in dev; in production only with a token. In dev, an inspector that can't start is only a warning. */
export function openInspector(
  config: Pick<Config, "mode" | "inspector" | "dataDir"> & Pick<InspectorOptions, "unverified">,
  api: InspectorOptions["api"],
  warn: (note: string) => void,
): Inspector | undefined {
  const { mode, inspector, dataDir, unverified } = config;
  if (mode === "start" && inspector.token === undefined) return undefined;
  try {
    const opened = startInspector({
      ...inspector,
      unverified,
      api,
      signedOutFile: join(dataDir, "inspector-signed-out.json"),
      otherPorts: mode === "dev" ? OTHER_PORTS : 0,
    });
    if (inspector.port !== 0 && opened.port !== inspector.port)
      warn(`port ${inspector.port} is taken: the inspector is on ${opened.port} instead (INSPECTOR_PORT)`);
    return opened;
  } catch (error) {
    if (mode === "start" || !(error instanceof UserError)) throw error;
    warn(`there is no inspector: ${error.message}`);
    return undefined;
  }
}
