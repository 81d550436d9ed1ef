// `bun move`: moves the inbox and the ledger between SQLite and Postgres while no server runs. It never changes the tables
// of handlers.

import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";

import { defineCommand } from "citty";

import { COMMAND } from "../command.ts";
import { type Config, processEnvironment } from "../config.ts";
import { openEffects } from "../db/effects.ts";
import { addRows, type LedgerRow, rowsAfter } from "../db/ledger.ts";
import { DatabaseUrlError, describeDatabase, parseDatabaseUrl, type PostgresAddress } from "../db/url.ts";
import { InboxUnavailable, UserError } from "../errors.ts";
import { inboxPath } from "../inbox/open.ts";
import { lockDataDir, toUserError, withUserErrors } from "../store/data-dir.ts";
import { openPostgresStore } from "../store/postgres.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { countRows, moveInbox, type Place } from "../transfer/move-inbox.ts";
import { createProgress, type Progress } from "./progress.ts";
import { configOrUserError } from "./serve.ts";

// The largest tables are counted in one statement.
const DEADLINE_MS = 600_000;
const LEDGER_BATCH = 500;

export const move = defineCommand({
  meta: { name: `${COMMAND} move`, description: "Move the inbox to Postgres, or back, while no server runs" },
  args: {
    to: {
      type: "positional",
      description: "postgres://… to move from DATA_DIR; sqlite: to move from INBOX_URL to DATA_DIR",
      required: true,
    },
  },
  async run({ args }) {
    const config = configOrUserError(processEnvironment(), "dev");
    const path = inboxPath(config.dataDir);
    const toSqlite = args.to === "sqlite:";
    const address = toSqlite ? config.inbox : postgresAddress(args.to);
    if (!address) throw new UserError(`${COMMAND} move sqlite: moves the inbox of INBOX_URL, which is not set`);
    if (!toSqlite && !existsSync(path)) throw new UserError(`There is no inbox in ${config.dataDir}: nothing to move`);
    await using opened = new AsyncDisposableStack();
    opened.defer(await lockDataDir(config.dataDir));
    // A copy would lack what this version does not know.
    const exact = true;
    const shared = await openPlace(opened, describeDatabase(address), () =>
      openPostgresStore(address, { writers: 1, listen: false, deadlineMs: DEADLINE_MS, exact }),
    );
    const local = await openPlace(opened, `${resolve(path)} on ${hostname()}`, async () =>
      withUserErrors(path, () => openSqliteStore(path, { exact })),
    );
    const [source, target] = toSqlite ? [shared, local] : [local, shared];
    let bar: Progress | undefined;
    try {
      await moveInbox(source, target, {
        onProgress: (moved, total) => (bar ??= createProgress(total)).show(moved),
        beforeSwitch: () => moveLedger(config, address, toSqlite),
      });
    } catch (error) {
      if (local.store.isUnavailable(error)) throw toUserError(path, error);
      if (!shared.store.isUnavailable(error)) throw error;
      throw new UserError(
        `${shared.name} does not answer: ${(error as Error).message}. To continue, run ${COMMAND} move again`,
      );
    } finally {
      bar?.end();
    }
    const counts = await countRows(target.store);
    console.log(`${target.name} has ${counts.get("delivery")} deliveries and ${counts.get("run")} runs now.`);
    console.log(`Start the server ${toSqlite ? "without INBOX_URL" : "with INBOX_URL set to this address"}.`);
  },
});

function postgresAddress(text: string): PostgresAddress {
  const expected = `${COMMAND} move needs postgres://user:password@host/database, or sqlite: to move back`;
  try {
    const url = parseDatabaseUrl(text);
    if (url.kind === "postgres") return url;
  } catch (error) {
    if (!(error instanceof DatabaseUrlError)) throw error;
    throw new UserError(`The address ${error.message}; ${expected}`);
  }
  throw new UserError(expected);
}

async function openPlace(opened: AsyncDisposableStack, name: string, open: () => Promise<Place["store"]>) {
  try {
    const store = await open();
    opened.defer(() => store.close());
    return { store, name };
  } catch (error) {
    if (!(error instanceof InboxUnavailable)) throw error;
    throw new UserError(`${name} does not answer: ${error.message}`);
  }
}

/** The ledger moves only if the handlers' database moves too: from DATA_DIR/app.db to INBOX_URL's database, or back. */
async function moveLedger({ database, inbox, dataDir }: Config, address: PostgresAddress, toSqlite: boolean) {
  // Without DATABASE_URL, handlers write beside the inbox, and INBOX_URL may be set already.
  const own = { kind: "sqlite", filename: join(dataDir, "app.db") } as const;
  const file = database === inbox ? own : database;
  if (file.kind !== "sqlite" || !(toSqlite || existsSync(file.filename))) return;
  await using from = await openEffects(toSqlite ? address : file);
  await using to = await openEffects(toSqlite ? file : address);
  let after = { delivery: "", handler: "", replay: "" };
  while (true) {
    const rows: LedgerRow[] = await from.write((tx) => rowsAfter(tx, after, LEDGER_BATCH));
    if (rows.length === 0) break;
    await to.write((tx) => addRows(tx, rows));
    after = rows.at(-1)!;
  }
  const [old, now] = [file.filename, describeDatabase(address)];
  console.log(
    `The ledger is in ${toSqlite ? old : now} now. The tables of your handlers are still in ${toSqlite ? now : old}:\n` +
      "copy them before you start the server.",
  );
}
