// The inspector's own port: every request passes the door, and every answer carries what keeps a browser safe.
// Never the public port, and nothing of it is reachable from there.

import { Elysia } from "elysia";

import { UserError } from "../errors.ts";
import { answerError, type ApiOptions, createApi } from "./app.ts";
import { createPage, type Page } from "./bundle.ts";
import { refuse } from "./door.ts";
import type { Live } from "./routes/live.ts";
import { pageRoutes } from "./routes/page.ts";
import { createSessions } from "./session.ts";

export interface InspectorOptions {
  host: string;
  /** 0 lets the system choose. */
  port: number;
  token: string | undefined;
  api: ApiOptions & { live: Live };
  /** When the port is taken, so many ones after it are tried. */
  otherPorts: number;
  page?: () => Promise<Page>;
}

export interface Inspector {
  port: number;
  /** For this machine's browser. */
  url: string;
  stop(): Promise<void>;
}

// A feed says something every five seconds.
const IDLE_SECONDS = 30;
const LARGEST_REQUEST = 1_048_576;
// A stream outlives its session by no more than this: it is ended, comes again, and has to show its cookie.
const STREAM_LASTS_MS = 3_600_000;

const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

/** Starts to listen. Throws a `UserError` that says what to do when it can't. */
export function startInspector(options: InspectorOptions): Inspector {
  const { token, api, page = createPage() } = options;
  const { feed } = api.live;
  const sessions = token === undefined ? undefined : createSessions({ token });
  const app = new Elysia()
    .onError(({ code, error }) => answerError(code, error, api.onError))
    .use(createApi(api))
    .use(pageRoutes({ page, sessions, drop: () => feed.drop() }));

  async function answer(request: Request): Promise<Response> {
    const { method, headers } = request;
    // A target without a path, as `OPTIONS *`, is no URL.
    const url = URL.parse(request.url);
    const path = url?.pathname ?? "";
    const signedIn = sessions?.knows(headers.get("cookie")) ?? true;
    const refusal = refuse({ method, path, headers, signedIn }, { token: token !== undefined });
    // Elysia looks for the path from the eleventh character on: after a short Host that may be in the query.
    if (!refusal)
      return await app.fetch(url ? new Request(`http://inspector.invalid${path}${url.search}`, request) : request);
    const { status, ...says } = refusal;
    return Response.json(says, { status });
  }

  async function fetch(request: Request): Promise<Response> {
    const response = await answer(request);
    for (const [name, value] of Object.entries(HEADERS)) response.headers.set(name, value);
    if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
    return response;
  }

  const server = listen(options, fetch);
  const renew = token === undefined ? undefined : setInterval(() => feed.drop(), STREAM_LASTS_MS).unref();
  const { port = options.port } = server;
  return {
    port,
    url: urlOf(options.host, port),
    async stop() {
      clearInterval(renew);
      feed.stop();
      await server.stop(true);
    },
  };
}

function listen({ host, port, otherPorts }: InspectorOptions, fetch: (request: Request) => Promise<Response>) {
  const last = port === 0 ? 0 : Math.min(port + otherPorts, 65_535);
  for (let each = port; ; each += 1) {
    try {
      return Bun.serve({
        hostname: host,
        port: each,
        // Two servers on one port would each get half of the requests, silently.
        reusePort: false,
        // Otherwise Bun answers what nobody caught with a page that shows our source.
        development: false,
        maxRequestBodySize: LARGEST_REQUEST,
        idleTimeout: IDLE_SECONDS,
        fetch,
      });
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code === "EADDRINUSE" && each < last) continue;
      throw explained(error, host, port);
    }
  }
}

function explained(error: unknown, host: string, port: number): unknown {
  const reasons: Record<string, string> = {
    EADDRINUSE: `Port ${port} is taken, so the inspector can't have it.\n\n    INSPECTOR_PORT=${port === 3001 ? 3101 : 3001}`,
    EACCES: `Port ${port} needs more rights than this user has, as all below 1024 do.\n\n    INSPECTOR_PORT=3001`,
    EADDRNOTAVAIL: `This machine has no address ${host}.\n\n    INSPECTOR_HOST=127.0.0.1`,
    ENOENT: `This machine has no address ${host}.\n\n    INSPECTOR_HOST=127.0.0.1`,
  };
  const reason = reasons[String((error as { code?: unknown }).code)];
  return reason ? new UserError(reason) : error;
}

function urlOf(host: string, port: number): string {
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
