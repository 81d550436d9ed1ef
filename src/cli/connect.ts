// Connects a command to the inbox: over the socket of the running server, or by opening its files when no server runs.

import { existsSync } from "node:fs";

import { type ApiOptions, createApi } from "../api/app.ts";
import type { ApiHandler } from "../api/routes/selection.ts";
import type { ServerJson } from "../api/server-types.ts";
import { socketPath } from "../api/socket.ts";
import { listServers, loadedBy, withLoaded } from "../cluster/servers.ts";
import { COMMAND } from "../command.ts";
import type { Config } from "../config.ts";
import { type Effects, openEffects } from "../db/effects.ts";
import { describeDatabase, type PostgresAddress } from "../db/url.ts";
import { findLost } from "../dispatch/lost.ts";
import { messageOf, UserError } from "../errors.ts";
import { crawl } from "../handlers/crawl.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { openPostgresInbox, openSqliteInbox } from "../inbox/open.ts";
import { addressesIn, eraseRows } from "../mirror/erase-rows.ts";
import { lockDataDir } from "../store/data-dir.ts";
import { openPostgresReader } from "../store/postgres.ts";
import { type Erasures, startErasures } from "../upkeep/erasures.ts";
import { type Client, createClient } from "./api-client.ts";
import { mirrorsOf } from "./mirror-commands.ts";

const SERVERS_DEADLINE_MS = 5_000;

/** A client of the server that runs on this data folder; undefined when none runs. */
export async function connect(dataDir: string): Promise<Client | undefined> {
  const unix = socketPath(dataDir);
  if (!unix || !existsSync(unix)) return undefined;
  const ask = (path: string, method: string) => fetch(`http://bellhop${path}`, { unix, method });
  try {
    const { webhookUrl } = (await (await ask("/api/server", "GET")).json()) as Partial<ServerJson>;
    return createClient({ ask, webhookUrl, isOffline: false, [Symbol.asyncDispose]: async () => {} });
  } catch {
    return undefined;
  }
}

/**
 * As `connect`; when no server runs here, a client that opens the inbox itself. It locks the files of a SQLite inbox until it
 * is disposed; an inbox in Postgres is shared with servers on other machines.
 */
export async function connectOrOpen(config: Config): Promise<Client> {
  const { dataDir, handlersDir } = config;
  // A server with an inbox in SQLite may still run on this data folder.
  const connected = (await connectShared(config)) ?? (await connect(dataDir));
  if (connected) return connected;
  if (!existsSync(dataDir))
    throw new UserError(`There is no inbox in ${dataDir} yet: start a server with ${COMMAND} dev`);
  await using opened = new AsyncDisposableStack();
  opened.defer(await lockDataDir(dataDir));
  const inbox = opened.use(await openSqliteInbox(dataDir));
  const { handlers } = await crawl(handlersDir);
  return openClient(config, opened, { inbox, handlers: () => handlers }, true);
}

/** A client that opens an inbox in Postgres, for its servers on other machines; undefined when the inbox is SQLite. */
export async function connectShared(config: Config): Promise<Client | undefined> {
  const { inbox: address, database, handlersDir } = config;
  if (!address) return undefined;
  await using opened = new AsyncDisposableStack();
  const inbox = opened.use(await openPostgresInbox(address).catch(withoutStack(address)));
  const reader = openPostgresReader(address, { connections: 1, deadlineMs: SERVERS_DEADLINE_MS });
  opened.defer(() => reader.close());
  const servers = await listServers(reader);
  const elsewhere = servers.flatMap(({ about }) => about.handlers ?? []);
  const loaded = loadedBy({ handlers: elsewhere });
  // The handlers of this directory, and those that live servers load.
  const byName = new Map<string, ApiHandler>();
  for (const handler of withLoaded([...(await crawl(handlersDir)).handlers, ...elsewhere], loaded))
    byName.set(handler.name, handler);
  const lost = async () => {
    await using effects = await openEffects(database);
    return await findLost({ inbox, effects });
  };
  return openClient(config, opened, { inbox, handlers: () => [...byName.values()], lost }, servers.length === 0);
}

function withoutStack(address: PostgresAddress) {
  return (error: unknown): never => {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `The inbox, ${describeDatabase(address)}, can't be opened: ${messageOf(error)}. Is it running? Check INBOX_URL`,
    );
  };
}

/** A client over an API of its own, which closes what was opened for it. */
function openClient(
  config: Config,
  opened: AsyncDisposableStack,
  parts: Pick<ApiOptions, "handlers" | "lost"> & { inbox: Inbox },
  isOffline: boolean,
): Client {
  const erasures = erasuresOf(config, parts.inbox);
  opened.defer(() => erasures.stop());
  // Without a server, there is no log.
  const onError = (error: unknown) => console.error(messageOf(error));
  const api = createApi({ ...parts, erasures, onError });
  const ask = (path: string, method: string) => api.handle(new Request(`http://bellhop${path}`, { method }));
  const held = opened.move();
  return createClient({ ask, isOffline, [Symbol.asyncDispose]: () => held.disposeAsync() });
}

/** Opens the handlers' database only for an erasure. */
function erasuresOf({ database, handlersDir }: Config, inbox: Inbox): Erasures {
  const tables = async () => (await mirrorsOf(handlersDir)).flatMap((mirror) => mirror.tables);
  const inDatabase = async <T>(use: (effects: Effects) => Promise<T>) => {
    await using effects = await openEffects(database);
    // Awaited before it is closed.
    return await use(effects);
  };
  return startErasures({
    inbox,
    effects: { scrub: () => inDatabase((effects) => effects.scrub()) },
    addressesOf: async (user) => {
      const known = await tables();
      return inDatabase(({ sql }) => addressesIn(sql, known, user));
    },
    eraseRows: async (user, addresses) => {
      const known = await tables();
      return inDatabase((effects) => effects.write((tx) => eraseRows(tx, known, user, addresses)));
    },
    everyMs: Infinity,
  });
}
