// Reads Clerk's Backend API as JSON. Clerk's own client drops properties that it does not know and lacks some lists, and
// a mirror keeps Clerk's objects as they are. Errors are those of Clerk's client.

import { ClerkAPIResponseError } from "@clerk/backend/errors";

export type Query = Record<string, string | number | boolean | readonly string[]>;

/** Answers a GET request: `get("/users/count")`. Rejects with a `ClerkAPIResponseError`. */
export type Get = (path: string, query?: Query) => Promise<unknown>;

// The version that @clerk/backend 3.25 requests; test/clerk/requests.test.ts compares them.
const API_VERSION = "2026-05-12";

export function createRequests({ secretKey, apiUrl }: { secretKey: string; apiUrl: string }): Get {
  const headers = { authorization: `Bearer ${secretKey}`, "clerk-api-version": API_VERSION, "user-agent": "bellhop" };
  return async (path, query = {}) => {
    const url = new URL(`${apiUrl.replace(/\/+$/, "")}/v1${path}`);
    for (const [name, value] of Object.entries(query))
      for (const item of [value].flat()) url.searchParams.append(name, String(item));
    const response = await fetch(url, { headers }).catch(unanswered);
    const body: unknown = await response.json().catch(response.ok ? unanswered : () => undefined);
    if (response.ok) return body;
    throw refused(response, body);
  };
}

/** A lost connection, or an answer that ends early. Without a status, as from Clerk's client. */
function unanswered(error: unknown): never {
  const message = error instanceof Error ? error.message : String(error);
  const failure = new ClerkAPIResponseError(message, { data: [{ code: "unexpected_error", message }], status: 0 });
  throw Object.assign(failure, { status: undefined });
}

function refused({ status, statusText, headers }: Response, body: unknown): ClerkAPIResponseError {
  const { errors: data = [] } = (body ?? {}) as { errors?: { code: string; message: string }[] };
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  const retryAfter = Number.isFinite(seconds) ? { retryAfter: seconds } : {};
  return new ClerkAPIResponseError(statusText, { data, status, ...retryAfter });
}
