// `bun alert --test` sends a message to each target of ALERT_URLS, and reports which of them accepted it.

import { hostname } from "node:os";

import { defineCommand } from "citty";

import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { messageOf, UserError } from "../errors.ts";
import { type Alert, sendAlert } from "../monitor/alert-channels.ts";
import { composeMessage } from "../monitor/alert-text.ts";
import type { Notice } from "../monitor/notices.ts";
import { configOrUserError } from "./serve.ts";

export const alert = defineCommand({
  meta: { name: `${COMMAND} alert`, description: "Send a test alert to each target of ALERT_URLS" },
  args: { test: { type: "boolean", description: "Send it" } },
  async run({ args: { test } }) {
    const { alerts } = configOrUserError(processEnvironment(), "dev");
    if (alerts.length === 0)
      throw new UserError("ALERT_URLS is not set:\n\n    ALERT_URLS=https://hooks.slack.com/services/…");
    if (!test) throw new UserError(`To send a test alert to each target of ALERT_URLS: ${COMMAND} alert --test`);
    const notices: Notice[] = [{ kind: "test", host: hostname() }];
    const message: Alert = {
      id: `alert_${crypto.randomUUID()}`,
      at: Date.now(),
      message: composeMessage(notices, hostname()),
      notices,
    };
    const results = await Promise.allSettled(alerts.map((target) => sendAlert(target, message)));
    for (const [index, result] of results.entries()) {
      const { name, kind } = alerts[index]!;
      if (result.status === "fulfilled") console.log(`✓ ${name} (${kind}) accepted it`);
      else console.log(`✗ ${name} (${kind}): ${messageOf(result.reason)}`);
    }
    process.exitCode = results.every(({ status }) => status === "fulfilled") ? 0 : 1;
  },
});
