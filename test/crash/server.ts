// `bun start` with its inbox in the Postgres of `CRASH_INBOX_URL`, until there is a setting for that.

import { runCli } from "../../src/cli/cli.ts";
import { openPostgresInbox } from "../../src/inbox/open.ts";
import { openServer } from "../../src/main.ts";

const url = process.env.CRASH_INBOX_URL ?? "";

await runCli(process.argv.slice(2), (config, log) =>
  openServer(config, log, { openInbox: (options) => openPostgresInbox({ url, prepare: true }, options) }),
);
