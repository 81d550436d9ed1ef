// The page itself and how one signs in: on the inspector's own port, and not on the socket.

import { Elysia, t } from "elysia";

import type { Page } from "../bundle.ts";
import { type Sessions, setCookie } from "../session.ts";

export interface PageOptions {
  page: () => Promise<Page>;
  /** There when a token is set. */
  sessions: Sessions | undefined;
  /** Ends the streams of those who have just signed out; the others come again. */
  drop: () => void;
}

export function pageRoutes({ page, sessions, drop }: PageOptions) {
  return new Elysia()
    .get("/", async ({ request }) => serve(request, (await page()).html))
    .get("/app.js", async ({ request }) => serve(request, (await page()).script))
    .get("/app.css", async ({ request }) => serve(request, (await page()).style))
    .post(
      "/api/sign-in",
      async ({ body, request }) => {
        if (!sessions) return Response.json({ error: "no_token", says: "INSPECTOR_TOKEN is not set" }, { status: 409 });
        const signedIn = await sessions.signIn(body.token);
        if (signedIn.is === "wrong")
          return Response.json({ error: "wrong_token", says: "That is not INSPECTOR_TOKEN" }, { status: 401 });
        if (signedIn.is === "too_many") {
          const seconds = Math.ceil(signedIn.retryAfterMs / 1_000);
          const says = `Too many wrong tokens: wait ${seconds} s`;
          const headers = { "retry-after": String(seconds) };
          return Response.json({ error: "too_many", says }, { status: 429, headers });
        }
        return cookie(signedIn.value, request);
      },
      { body: t.Object({ token: t.String({ maxLength: 1_000 }) }) },
    )
    .post("/api/sign-out", ({ request }) => {
      sessions?.signOut(request.headers.get("cookie"));
      drop();
      return cookie(null, request);
    });
}

function cookie(value: string | null, { headers }: Request): Response {
  const secure = /^https:/i.test(headers.get("origin") ?? "");
  return new Response(null, { status: 204, headers: { "set-cookie": setCookie(value, secure) } });
}

function serve({ headers }: Request, { text, type, tag }: Page["html"]): Response {
  const about = { "content-type": type, etag: tag, "cache-control": "no-cache" };
  if (headers.get("if-none-match") === tag) return new Response(null, { status: 304, headers: about });
  return new Response(text, { headers: about });
}
