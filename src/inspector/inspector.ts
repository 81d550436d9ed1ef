// The inspector's own port: checks the access of every request, and adds security headers to every answer.
// Nothing of it is reachable through the public port.

import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { Elysia } from "elysia";

import { listenError, localUrlOf } from "../address.ts";
import { createApi, errorAnswer } from "../api/app.ts";
import type { ApiOptions } from "../api/app.ts";
import type { Live } from "../api/routes/live.ts";
import type { Config } from "../config.ts";
import { UserError } from "../errors.ts";
import { answerScrape } from "../monitor/metrics-server.ts";
import type { Scrape } from "../monitor/prometheus.ts";
import type { UnverifiedBodies } from "../receive/unverified.ts";
import { type AccessRequest, MCP_PATH, refuse } from "./access.ts";
import { type Page, readPage } from "./bundle.ts";
import { pageRoutes, wrongToken } from "./page-routes.ts";
import { bearerOf, createSessions } from "./session.ts";

export interface InspectorOptions {
  host: string;
  /** 0 lets the system choose. */
  port: number;
  /** INSPECTOR_TOKEN. Without one, a token is made for this start, and only this machine's browsers are accepted. */
  token: string | undefined;
  api: ApiOptions & { live: Live };
  /** Reads the bodies of browsers that have not signed in. */
  unverified: UnverifiedBodies;
  /** The answer to a scrape of Prometheus, which sends the token as its bearer token. */
  scrape: () => Promise<Scrape>;
  /** Stores signed-out sessions, so that they stay signed out after a restart. */
  signedOutFile?: string;
  /** The number of further ports to try when the port is taken. */
  otherPorts: number;
  /** MCP_WRITE=1: agents may send, try and replay. */
  mcpWrite: boolean;
  /** The project's directory, for the commands that agents run. */
  projectDir: string;
  page?: () => Promise<Page>;
}

export interface Inspector {
  port: number;
  url: string;
  /** For this machine's browser. Contains the token of this start, so it must not be logged. */
  link: string;
  stop(): Promise<void>;
}

// Longer than the pauses of the feed, which sends something every five seconds.
const IDLE_SECONDS = 30;
const SETTINGS = { port: ["INSPECTOR_PORT", 3001], host: "INSPECTOR_HOST=127.0.0.1" } as const;
const TOKEN_BYTES = 24;
const MAX_REQUEST_BYTES = 1_048_576;
const MAX_SIGN_IN_BYTES = 4_096;
// A tool may run a handler, with its timeout of 30 s or more, before the answer begins.
const MCP_SECONDS = 120;
// A developer may run the servers of several projects, each with an inspector.
const OTHER_PORTS = 10;
// Streams are ended this often, so that a browser reconnects with its cookie: no stream outlives its session by more.
const MAX_STREAM_MS = 3_600_000;

const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

/** In dev, an inspector that can't start is only a warning. */
export function openInspector(
  config: Pick<Config, "mode" | "inspector" | "dataDir" | "mcpWrite"> &
    Pick<InspectorOptions, "unverified" | "scrape" | "projectDir">,
  api: InspectorOptions["api"],
  warn: (note: string) => void,
): Inspector | undefined {
  const { mode, inspector, dataDir, unverified, scrape, mcpWrite, projectDir } = config;
  try {
    const opened = startInspector({
      ...inspector,
      unverified,
      scrape,
      mcpWrite,
      projectDir,
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

/** Starts listening. Throws a `UserError` with a remedy when it can't. */
export function startInspector(options: InspectorOptions): Inspector {
  const { api, unverified, scrape, page = readPage } = options;
  const { feed } = api.live;
  const remote = options.token !== undefined;
  const token = options.token ?? randomBytes(TOKEN_BYTES).toString("hex");
  const server = listen(options, fetch);
  const { port = options.port } = server;
  // Cookies of one host are shared by all its ports, so two inspectors need two names.
  const sessions = createSessions({
    token,
    cookie: `bellhop_inspector_${port}`,
    signedOutFile: options.signedOutFile,
    onError: api.onError,
  });
  const app = new Elysia()
    .onError(({ code, error }) => errorAnswer(code, error, api.onError))
    .use(createApi(api))
    .get("/metrics", () => answerScrape(scrape))
    .use(pageRoutes({ page, sessions, dropStreams: () => feed.drop() }));

  async function answer(request: Request): Promise<Response> {
    const { method, headers } = request;
    // A target without a path, such as `OPTIONS *`, is not a URL.
    const url = URL.parse(request.url);
    const path = url?.pathname ?? "";
    if (path === MCP_PATH) return await answerAgent({ method, path, headers }, request);
    const signedIn =
      sessions.knows(headers.get("cookie")) || (path === "/metrics" && sessions.hasToken(headers.get("authorization")));
    const refusal = refuse({ method, path, headers, signedIn }, { remote });
    // Elysia searches the path from the eleventh character of the URL on. After a very short Host that is in the query,
    // so a client could choose the path after the access check.
    if (!refusal)
      return url && !signedIn && method === "POST"
        ? await answerUnverified(path, request)
        : await app.fetch(url ? new Request(`http://inspector.invalid${path}${url.search}`, request) : request);
    const { status, ...body } = refusal;
    return Response.json(body, { status });
  }

  /** Loaded at its first use, since few servers have an agent. */
  let mcp: Promise<(request: Request) => Promise<Response>> | undefined;
  async function loadMcp() {
    const { createMcp } = await import("../mcp/mcp.ts");
    const { mcpWrite: canWrite, projectDir } = options;
    return createMcp({ api: (request) => app.fetch(request), canWrite, projectDir, onError: api.onError });
  }

  async function answerAgent(given: Omit<AccessRequest, "signedIn">, request: Request): Promise<Response> {
    const bearer = bearerOf(given.headers.get("authorization"));
    // The other rules come first, so that a request which they refuse can't be used to guess the token.
    const refusal = refuse({ ...given, signedIn: bearer !== undefined }, { remote });
    if (refusal) {
      const { status, ...body } = refusal;
      return Response.json(body, { status, headers: status === 401 ? { "www-authenticate": "Bearer" } : {} });
    }
    const result = await sessions.signIn(bearer ?? "");
    if (result.kind !== "right") return wrongToken(result);
    server.timeout(request, MCP_SECONDS);
    mcp ??= loadMcp();
    return await (
      await mcp
    )(request);
  }

  /** Signs in. The body is read here, because Elysia would wait for it without a limit. */
  async function answerUnverified(path: string, request: Request): Promise<Response> {
    const body = await unverified.read(request, MAX_SIGN_IN_BYTES);
    if (typeof body !== "string")
      return await app.fetch(
        new Request(`http://inspector.invalid${path}`, { method: "POST", headers: request.headers, body }),
      );
    const status = body === "too_large" ? 413 : 408;
    return Response.json({ error: `body_${body}` }, { status, headers: { connection: "close" } });
  }

  async function fetch(request: Request): Promise<Response> {
    const response = await answer(request);
    for (const [name, value] of Object.entries(HEADERS)) response.headers.set(name, value);
    if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
    return response;
  }

  const renew = setInterval(() => feed.drop(), MAX_STREAM_MS).unref();
  const url = localUrlOf(options.host, port);
  return {
    port,
    url,
    // A browser does not send the fragment: no proxy and no log sees the token. The page exchanges it for a cookie.
    link: remote ? url : `${url}/#token=${token}`,
    async stop() {
      clearInterval(renew);
      feed.stop();
      await server.stop(true);
    },
  };
}

function listen({ host, port, otherPorts }: InspectorOptions, fetch: (request: Request) => Promise<Response>) {
  const last = port === 0 ? 0 : Math.min(port + otherPorts, 65_535);
  for (let candidate = port; ; candidate += 1) {
    try {
      return Bun.serve({
        hostname: host,
        port: candidate,
        // Otherwise two servers could share one port, and each would silently get half of the requests.
        reusePort: false,
        // Otherwise Bun answers an uncaught error with a page that shows source code.
        development: false,
        maxRequestBodySize: MAX_REQUEST_BYTES,
        idleTimeout: IDLE_SECONDS,
        fetch,
      });
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code === "EADDRINUSE" && candidate < last) continue;
      throw listenError(error, { host, port, settings: SETTINGS });
    }
  }
}
