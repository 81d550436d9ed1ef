// `bun restore`: replaces the inbox and the handlers' database by a backup. The old files are moved away, never
// deleted. The inbox is replaced last: if the command is interrupted before, the next start reports that there is no
// inbox.

import { copyFileSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { defineCommand } from "citty";

import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { describeDatabase } from "../db/url.ts";
import { UserError } from "../errors.ts";
import { inboxPath } from "../inbox/open.ts";
import { lockDataDir, withUserErrors } from "../store/data-dir.ts";
import { damageOf, flush } from "../transfer/copy.ts";
import { APP_COPY, INBOX_COPY, timeInName } from "./backup.ts";
import { configOrUserError } from "./serve.ts";

export const restore = defineCommand({
  meta: { name: `${COMMAND} restore`, description: "Put a backup in place, with the server stopped" },
  args: { folder: { type: "positional", description: `The folder that ${COMMAND} backup made`, required: true } },
  async run({ args: { folder } }) {
    const { dataDir, database, inbox: shared } = configOrUserError(processEnvironment(), "dev");
    if (shared)
      throw new UserError(`The inbox is ${describeDatabase(shared)}: restore its own backup with pg_restore.`);
    const [inbox, app] = [join(folder, INBOX_COPY), join(folder, APP_COPY)];
    const hasApp = database.kind === "sqlite" && existsSync(app);
    check(inbox, "delivery");
    if (hasApp) check(app, "bellhop_ledger");
    const unlock = await lockDataDir(dataDir);
    try {
      const away = join(dataDir, `before-restore-${timeInName()}`);
      const places = [...(hasApp ? [[app, database.filename] as const] : []), [inbox, inboxPath(dataDir)] as const];
      withUserErrors(dataDir, () => {
        for (const [, place] of places) moveAway(place, away);
        for (const [from, place] of places) put(from, place);
      });
      if (existsSync(away)) console.log(`The old files are in ${away} now; delete them when everything works.`);
    } finally {
      unlock();
    }
    if (database.kind === "postgres")
      console.log(`The handlers' database is ${describeDatabase(database)}: restore its own backup with pg_restore.`);
    else if (!hasApp) console.log(`${folder} has no ${APP_COPY}: ${database.filename} was not changed.`);
    console.log(
      "The backup is in place. The next start reports runs that are done but missing in the handlers' database.",
    );
  },
});

function check(path: string, table: string) {
  if (!existsSync(path))
    throw new UserError(`There is no ${path}: a backup is a folder that ${COMMAND} backup has made`);
  const damage = damageOf(path, table);
  if (damage) throw new UserError(`${path} can't be restored: ${damage}. Nothing was changed.`);
}

/** Moves a database with its write-ahead log, which belongs to it. */
function moveAway(place: string, away: string) {
  for (const path of [place, `${place}-wal`, `${place}-shm`]) {
    if (!existsSync(path)) continue;
    mkdirSync(away, { recursive: true, mode: 0o700 });
    renameSync(path, join(away, basename(path)));
  }
}

/** Gives a copy its final name only when it is complete and on disk. */
function put(from: string, place: string) {
  const whole = `${place}.restoring`;
  copyFileSync(from, whole);
  flush(whole);
  renameSync(whole, place);
  flush(dirname(place));
}
