// The description of the server on the inspector's page.

import { basename } from "node:path";

import type { ServerJson } from "./api/server-types.ts";
import { eventNames } from "./clerk/events.ts";
import { COMMAND } from "./command.ts";
import type { Config } from "./config.ts";

export function createServerInfo(config: Config, projectDir: string, webhookUrl: () => string) {
  const { mode, handlersDir, inspector } = config;
  let { secretHint, isDevSecret } = config;
  let publicUrl: string | null = null;
  return {
    json: (): ServerJson => ({
      pid: process.pid,
      mode,
      command: COMMAND,
      webhookUrl: webhookUrl(),
      publicUrl,
      secretHint,
      isDevSecret,
      handlersDir,
      samples: [...eventNames],
      project: basename(projectDir),
      // Without INSPECTOR_TOKEN, only this machine's browsers are accepted.
      root: inspector.token === undefined ? projectDir : null,
      signedIn: inspector.token !== undefined,
    }),
    useSecret: (secret: Pick<Config, "secretHint" | "isDevSecret">) => void ({ secretHint, isDevSecret } = secret),
    usePublicUrl: (url: string | undefined) => void (publicUrl = url ?? null),
  };
}
