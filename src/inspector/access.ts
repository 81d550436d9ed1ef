// Decides which requests the inspector's port accepts, before anything else reads them. Pure.
// Every request needs a session: a loopback address proves nothing, since other users of this machine and tunnels have
// it too.

/** The parts of a request that the decision depends on. */
export interface AccessRequest {
  method: string;
  /** Without the query. */
  path: string;
  headers: Pick<Headers, "get" | "keys">;
  /** It carries the cookie of a valid session; for `/mcp`, the token itself. */
  signedIn: boolean;
}

/** The path for coding agents, which send the token with each request and have no cookies. */
export const MCP_PATH = "/mcp";

export interface AccessRefusal {
  status: 401 | 403 | 405 | 415;
  error: "forwarded" | "wrong_host" | "method_not_allowed" | "wrong_origin" | "not_json" | "other_site" | "sign_in";
  /** The reason, with a remedy. */
  message: string;
}

/** The page itself contains no data; it asks for the token. */
const PAGE = new Set(["/", "/app.js", "/app.css"]);
// Any other name may be an attacker's that resolves to this machine (DNS rebinding).
const LOCAL_HOST = /^(?:localhost|(?:[a-z\d-]+\.)+localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d{1,5})?$/i;
// The headers that proxies and tunnels add; some send only `via` or `x-real-ip`.
const FORWARDED = /^(?:forwarded|x-forwarded-.+|x-real-ip|via|cf-connecting-ip)$/i;

/**
 * Undefined when the request is accepted. `remote`: INSPECTOR_TOKEN is set, so proxies and other host names are
 * accepted too.
 */
export function refuse(request: AccessRequest, { remote }: { remote: boolean }): AccessRefusal | undefined {
  return (
    (remote ? undefined : refuseRemote(request)) ?? refuseForgery(request) ?? refuseUnauthenticated(request, remote)
  );
}

function refuseRemote({ headers }: AccessRequest): AccessRefusal | undefined {
  if ([...headers.keys()].some((name) => FORWARDED.test(name)))
    return {
      status: 403,
      error: "forwarded",
      message: "The request came through a proxy or a tunnel. To allow remote access, set INSPECTOR_TOKEN",
    };
  if (!LOCAL_HOST.test(headers.get("host") ?? ""))
    return {
      status: 403,
      error: "wrong_host",
      message: "The inspector only accepts localhost and 127.0.0.1. To use another name, set INSPECTOR_TOKEN",
    };
  return undefined;
}

/** Refuses requests that another site makes this browser send. */
function refuseForgery({ method, path, headers }: AccessRequest): AccessRefusal | undefined {
  const site = headers.get("sec-fetch-site");
  if ((path.startsWith("/api/") || path === MCP_PATH) && site !== null && site !== "same-origin" && site !== "none")
    return { status: 403, error: "other_site", message: "Another site sent this request. Open the inspector itself" };
  if (method === "GET") return undefined;
  if (method !== "POST")
    return { status: 405, error: "method_not_allowed", message: "Only GET and POST are supported" };
  // A browser sends an Origin or Sec-Fetch-Site with a POST; another client has the token in a header.
  const isAgent = path === MCP_PATH && headers.get("origin") === null && site === null;
  if (!isAgent && !sameOrigin(headers, site))
    return {
      status: 403,
      error: "wrong_origin",
      message: "A write has to come from the inspector's own page. A proxy has to forward the Host header",
    };
  // A form of another site can't send JSON.
  const type = headers.get("content-type");
  if (type !== null && !/^application\/json\s*(?:;|$)/i.test(type))
    return { status: 415, error: "not_json", message: "A write needs a JSON body, or none" };
  return undefined;
}

/** Does not compare the scheme: behind a proxy that terminates TLS, only the browser knows it. */
function sameOrigin(headers: AccessRequest["headers"], site: string | null): boolean {
  const origin = headers.get("origin");
  if (origin === null) return site === "same-origin";
  const host = /^https?:\/\/([^/]+)$/i.exec(origin)?.[1];
  return host !== undefined && host.toLowerCase() === headers.get("host")?.toLowerCase();
}

function refuseUnauthenticated({ method, path, signedIn }: AccessRequest, remote: boolean): AccessRefusal | undefined {
  if (signedIn || (method === "GET" && PAGE.has(path)) || (method === "POST" && path === "/api/sign-in"))
    return undefined;
  const message =
    path === MCP_PATH
      ? "Send the header Authorization: Bearer, with INSPECTOR_TOKEN"
      : remote
        ? "Sign in with INSPECTOR_TOKEN"
        : "Open the URL that the server printed at its start: it contains the token";
  return { status: 401, error: "sign_in", message };
}
