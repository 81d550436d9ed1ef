// Whether there is an inspector, and on which port.

import type { Config } from "../config.ts";
import { UserError } from "../errors.ts";
import { type Inspector, type InspectorOptions, startInspector } from "./server.ts";

// Who works on several projects has as many servers, each with an inspector.
const OTHER_PORTS = 10;

/**
 * On while you develop, and elsewhere for whoever has the token. What keeps it from starting in dev is a warning, since it
 * need not keep anybody from working.
 */
export function openInspector(
  { mode, inspector }: Pick<Config, "mode" | "inspector">,
  api: InspectorOptions["api"],
  warn: (note: string) => void,
): Inspector | undefined {
  if (mode === "start" && inspector.token === undefined) return undefined;
  try {
    const opened = startInspector({ ...inspector, api, otherPorts: mode === "dev" ? OTHER_PORTS : 0 });
    if (inspector.port !== 0 && opened.port !== inspector.port)
      warn(`port ${inspector.port} is taken: the inspector is on ${opened.port} instead (INSPECTOR_PORT)`);
    return opened;
  } catch (error) {
    if (mode === "start" || !(error instanceof UserError)) throw error;
    warn(`there is no inspector: ${error.message}`);
    return undefined;
  }
}
