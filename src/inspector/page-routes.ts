// Serves the page, and signing in and out. Only on the inspector's port, never on the socket.

import { Elysia, t } from "elysia";

import type { Page } from "./bundle.ts";
import type { Sessions, SignIn } from "./session.ts";

export interface PageOptions {
  page: () => Promise<Page>;
  sessions: Sessions;
  /** Ends all streams; browsers that are still signed in reconnect. */
  dropStreams: () => void;
}

export function pageRoutes({ page, sessions, dropStreams }: PageOptions) {
  return new Elysia()
    .get("/", async ({ request }) => serve(request, (await page()).html))
    .get("/app.js", async ({ request }) => serve(request, (await page()).script))
    .get("/app.css", async ({ request }) => serve(request, (await page()).style))
    .post(
      "/api/sign-in",
      async ({ body, request }) => {
        const result = await sessions.signIn(body.token);
        if (result.kind !== "right") return wrongToken(result);
        return cookie(sessions, result.value, request);
      },
      { body: t.Object({ token: t.String({ maxLength: 1_000 }) }) },
    )
    .post("/api/sign-out", ({ request }) => {
      sessions.signOut(request.headers.get("cookie"));
      dropStreams();
      return cookie(sessions, null, request);
    });
}

export function wrongToken(result: Exclude<SignIn, { kind: "right" }>): Response {
  if (result.kind === "wrong")
    return Response.json({ error: "wrong_token", message: "This is not the server's token" }, { status: 401 });
  const seconds = Math.ceil(result.retryAfterMs / 1_000);
  const message = `Too many wrong tokens: wait ${seconds} s`;
  return Response.json({ error: "too_many", message }, { status: 429, headers: { "retry-after": String(seconds) } });
}

function cookie(sessions: Sessions, value: string | null, { headers }: Request): Response {
  const secure = /^https:/i.test(headers.get("origin") ?? "");
  return new Response(null, { status: 204, headers: { "set-cookie": sessions.setCookie(value, secure) } });
}

function serve({ headers }: Request, { text, gzip, type, tag }: Page["html"]): Response {
  const caching = { "content-type": type, etag: tag, "cache-control": "no-cache", vary: "accept-encoding" };
  if (headers.get("if-none-match") === tag) return new Response(null, { status: 304, headers: caching });
  if (!/\bgzip\b/.test(headers.get("accept-encoding") ?? "")) return new Response(text, { headers: caching });
  return new Response(gzip, { headers: { ...caching, "content-encoding": "gzip" } });
}
