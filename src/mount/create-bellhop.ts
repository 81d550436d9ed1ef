// Bellhop inside of an application, which has the port, the signals and the process.
// Must never listen to signals, nor exit unless BLOCKED_SECONDS asks for it.

import { describeWrongRuntime } from "../bun-version.ts";
import { type Config, processEnvironment } from "../config.ts";
import { UserError } from "../errors.ts";
import { requireFolder } from "../handlers/crawl.ts";
import type { Server } from "../main.ts";
import type { Fetch } from "../receive/webhook-server.ts";
import { type BellhopOptions, configOf } from "./bellhop-options.ts";

export interface Bellhop extends AsyncDisposable {
  /** Answers a delivery at `webhookPath`, and `/health`; 404 elsewhere. Nothing may have read the request's body. */
  fetch: (request: Request) => Promise<Response>;
  webhookPath: string;
  /** The inspector's address; in development with the token of this start, so print it, and never log it. */
  inspectorUrl: string | undefined;
  /** Lets runs finish, for up to `shutdownSeconds`, and closes all files and connections. Idempotent. */
  stop(): Promise<void>;
}

interface Opened {
  options: string;
  bellhop: Promise<Bellhop>;
  /** Resolves when its files are closed, so that they can be opened again. */
  stopping?: Promise<void>;
}

// On globalThis, because a bundler or a reload (`bun --hot`) may load this module twice.
const KEY = Symbol.for("bellhop.opened");

/** By the path of its `dataDir`. */
function openedHere(): Map<string, Opened> {
  const host = globalThis as { [KEY]?: Map<string, Opened> };
  return (host[KEY] ??= new Map());
}

/**
 * Opens Bellhop in this process. Called again for the same `dataDir`, it returns the one that is open, so each route may
 * call it. Rejects with a sentence for each setting that is wrong. While Postgres is unreachable, it resolves, and
 * deliveries are answered 503.
 *
 *     const bellhop = await createBellhop({ dataDir: "data" });
 *     Bun.serve({ routes: { "/api/webhooks": bellhop.fetch } });
 */
export async function createBellhop(options: BellhopOptions = {}): Promise<Bellhop> {
  const wrongRuntime = describeWrongRuntime();
  if (wrongRuntime) throw new UserError(wrongRuntime);
  const config = configOf(options, processEnvironment());
  const { inspector: hasInspector = false } = options;
  const opened = openedHere();
  const key = config.dataDir;
  const same = JSON.stringify({ config, hasInspector });
  const existing = opened.get(key);
  if (existing?.stopping) {
    await existing.stopping;
    return await createBellhop(options);
  }
  if (existing?.options === same) return await existing.bellhop;
  if (existing)
    throw new UserError(
      `A Bellhop with other options is open on ${config.dataDir} in this process. Stop it first, or give this one another dataDir.`,
    );
  const forget = () => void opened.delete(key);
  const onStop = (stopping: Promise<void>) => void (entry.stopping = stopping.catch(() => undefined).then(forget));
  const entry: Opened = { options: same, bellhop: open(config, hasInspector, onStop) };
  opened.set(key, entry);
  entry.bellhop.catch(forget);
  return await entry.bellhop;
}

async function open(
  config: Config,
  hasInspector: boolean,
  onStop: (stopping: Promise<void>) => void,
): Promise<Bellhop> {
  // The server is loaded when it is needed.
  const [{ openServer }, { createLogger }, { logTable }] = await Promise.all([
    import("../main.ts"),
    import("../logger.ts"),
    import("../log.ts"),
  ]);
  if (config.mode === "start") requireFolder(config.handlersDir);
  const log = await createLogger(config);
  const abort = new AbortController();
  const answering = Promise.withResolvers<Fetch>();
  let fetch: Fetch | undefined;
  let server: Server | undefined;
  const opening = openServer(config, log, {
    hasInspector,
    signal: abort.signal,
    onFetch(latest) {
      fetch = latest;
      answering.resolve(latest);
    },
  }).then((opened) => {
    server = opened;
    logTable(log, config.handlersDir, opened.table());
  });
  // While Postgres is unreachable, deliveries are answered 503, and the server is opened later.
  await Promise.race([opening, answering.promise]);
  opening.catch((error: unknown) => {
    if (abort.signal.aborted) return;
    onStop(Promise.resolve());
    log.error({ err: error }, "Bellhop could not be opened");
  });

  async function close() {
    abort.abort();
    await opening.catch(() => undefined);
    await server?.stop();
    await new Promise<void>((done) => log.flush(() => done()));
  }

  let stopped: Promise<void> | undefined;
  function stop(): Promise<void> {
    if (stopped) return stopped;
    stopped = close();
    onStop(stopped);
    return stopped;
  }

  return {
    fetch: async (request) => await (fetch ?? (await answering.promise))(request),
    webhookPath: config.webhookPath,
    get inspectorUrl() {
      return config.mode === "dev" ? server?.inspectorLink : server?.inspectorUrl;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
