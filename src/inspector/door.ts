// Who may come in by the inspector's port, decided before anything else looks at a request. Pure.
// Without a token only this machine's own browser comes in: no proxy, no other name, no other site.

/** What a request is judged by. */
export interface Knock {
  method: string;
  /** Without the query. */
  path: string;
  headers: Pick<Headers, "get" | "keys">;
  /** Its cookie is one that we gave. */
  signedIn: boolean;
}

export interface DoorRefusal {
  status: 401 | 403 | 405 | 415;
  error: "forwarded" | "wrong_host" | "method_not_allowed" | "wrong_origin" | "not_json" | "other_site" | "sign_in";
  /** What happened, and what to do about it. */
  says: string;
}

/** The page, which holds no data, and asks for the token when it has to. */
const PAGE = new Set(["/", "/app.js", "/app.css"]);
// A name that only this machine resolves, or an address of its own: any other may be an attacker's that points here.
const LOCAL_HOST = /^(?:localhost|(?:[a-z\d-]+\.)+localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d{1,5})?$/i;
// A proxy or a tunnel tells by these that it stands between. `via` and `x-real-ip` are what some send instead.
const FORWARDED = /^(?:forwarded|x-forwarded-.+|x-real-ip|via|cf-connecting-ip)$/i;

/** Undefined: let it in. `token`: one is set, so that proxies and other names are welcome, and strangers are not. */
export function refuse(knock: Knock, { token }: { token: boolean }): DoorRefusal | undefined {
  return (
    (token ? undefined : refuseStranger(knock)) ?? refuseForgery(knock) ?? (token ? refuseUnknown(knock) : undefined)
  );
}

function refuseStranger({ headers }: Knock): DoorRefusal | undefined {
  if ([...headers.keys()].some((name) => FORWARDED.test(name)))
    return {
      status: 403,
      error: "forwarded",
      says: "This came through a proxy or a tunnel. To let others in, set INSPECTOR_TOKEN",
    };
  if (!LOCAL_HOST.test(headers.get("host") ?? ""))
    return {
      status: 403,
      error: "wrong_host",
      says: "The inspector answers to localhost and 127.0.0.1 alone. For any other name, set INSPECTOR_TOKEN",
    };
  return undefined;
}

/** What another site would have this browser ask. */
function refuseForgery({ method, path, headers }: Knock): DoorRefusal | undefined {
  const site = headers.get("sec-fetch-site");
  if (path.startsWith("/api/") && site !== null && site !== "same-origin" && site !== "none")
    return { status: 403, error: "other_site", says: "Another site asked for this. Open the inspector itself" };
  if (method === "GET") return undefined;
  if (method !== "POST") return { status: 405, error: "method_not_allowed", says: "There is GET and POST" };
  if (!sameOrigin(headers, site))
    return {
      status: 403,
      error: "wrong_origin",
      says: "A write has to come from the inspector's own page. Behind a proxy: it has to pass the Host header on",
    };
  // Nothing that a form can send.
  const type = headers.get("content-type");
  if (type !== null && !/^application\/json\s*(?:;|$)/i.test(type))
    return { status: 415, error: "not_json", says: "A write is JSON, or empty" };
  return undefined;
}

/** The scheme is not compared: behind a proxy that ends TLS, only the browser knows it. */
function sameOrigin(headers: Knock["headers"], site: string | null): boolean {
  const origin = headers.get("origin");
  if (origin === null) return site === "same-origin";
  const host = /^https?:\/\/([^/]+)$/i.exec(origin)?.[1];
  return host !== undefined && host.toLowerCase() === headers.get("host")?.toLowerCase();
}

function refuseUnknown({ method, path, signedIn }: Knock): DoorRefusal | undefined {
  if (signedIn || (method === "GET" && PAGE.has(path)) || (method === "POST" && path === "/api/sign-in"))
    return undefined;
  return { status: 401, error: "sign_in", says: "Sign in with INSPECTOR_TOKEN" };
}
