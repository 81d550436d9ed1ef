// `bun backup`: copies the inbox and the handlers' database, also while a server runs. The inbox has to be copied
// first: runs that finish between the copies are found in the ledger and not run twice. In the other order they would
// be lost.

import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { defineCommand } from "citty";

import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { describeDatabase } from "../db/url.ts";
import { UserError } from "../errors.ts";
import { inboxPath } from "../inbox/open.ts";
import { withUserErrors } from "../store/data-dir.ts";
import { copyDatabase, flush } from "../transfer/copy.ts";
import { configOrUserError } from "./serve.ts";

export const APP_COPY = "app.db";
export const INBOX_COPY = "inbox.db";

export const backup = defineCommand({
  meta: {
    name: `${COMMAND} backup`,
    description: "Copy the inbox and the handlers' database; the server may run meanwhile",
  },
  args: {
    folder: { type: "positional", description: "The folder to create", required: false },
  },
  run({ args }) {
    const { dataDir, database, inbox: shared } = configOrUserError(processEnvironment(), "dev");
    if (shared)
      throw new UserError(
        `The inbox is ${describeDatabase(shared)}: back it up with the database, for example with\n\n` +
          `    pg_dump "$INBOX_URL" --format=custom --file=bellhop.dump`,
      );
    const inbox = inboxPath(dataDir);
    if (!existsSync(inbox)) throw new UserError(`There is no inbox in ${dataDir}: nothing to back up`);
    const folder = args.folder ?? `backup-${timeInName()}`;
    if (existsSync(folder)) throw new UserError(`${folder} exists already: name a new folder`);
    withUserErrors(folder, () => mkdirSync(folder, { recursive: true, mode: 0o700 }));
    copy(inbox, join(folder, INBOX_COPY));
    if (database.kind === "sqlite") {
      if (existsSync(database.filename)) copy(database.filename, join(folder, APP_COPY));
    } else
      console.log(
        `The handlers' database is ${describeDatabase(database)}: copy it after this, not before, for example with\n\n` +
          `    pg_dump "$DATABASE_URL" --format=custom --file=${join(folder, "app.dump")}\n`,
      );
    flush(folder);
    console.log(`To restore it, with the server stopped: ${COMMAND} restore ${folder}`);
  },
});

/** The time in the name of a folder: `2026-05-01T14-03-07`, because Windows allows no colon. */
export function timeInName(): string {
  return new Date().toISOString().slice(0, 19).replaceAll(":", "-");
}

function copy(from: string, to: string) {
  withUserErrors(to, () => copyDatabase(from, to));
  console.log(`${to}   ${(statSync(to).size / 1_048_576).toFixed(1)} MB`);
}
