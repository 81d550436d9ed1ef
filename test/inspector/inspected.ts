// A server with its inspector, and requests to the inspector as its page sends them.

import { serverWith } from "../harness.ts";

export const TOKEN = "an-inspector-token-of-32-letters";
export const FAILS = `export const other = 1;

export default () => {
  throw new Error("no mail today");
};
`;

/** Without a token: as `bun dev`, signed in with the address that it prints. With a token: as `bun start`, signed out. */
export async function inspected(files: Record<string, string> = {}, token?: string) {
  const mode = token === undefined ? "dev" : "start";
  const server = await serverWith(files, token === undefined ? {} : { INSPECTOR_TOKEN: token }, undefined, mode);
  const at = server.inspectorUrl ?? "nowhere";
  const cookie: Record<string, string> = {};
  const write = (path: string, body?: unknown, headers: Record<string, string> = {}) =>
    fetch(`${at}${path}`, {
      method: "POST",
      ...(body !== undefined && { body: JSON.stringify(body) }),
      headers: { origin: at, ...(body !== undefined && { "content-type": "application/json" }), ...cookie, ...headers },
    });
  async function signIn() {
    const response = await write("/api/sign-in", { token: token ?? tokenIn(server.inspectorLink) });
    cookie.cookie = response.headers.get("set-cookie")?.split(";")[0] ?? "";
    return response;
  }
  if (token === undefined) await signIn();
  return {
    ...server,
    at,
    cookie,
    write,
    get: (path: string, headers: Record<string, string> = {}) =>
      fetch(`${at}${path}`, { headers: { ...cookie, ...headers } }),
    json: async <T>(path: string) => (await (await fetch(`${at}${path}`, { headers: cookie })).json()) as T,
    /** Signs in; later requests send the cookie. */
    signIn,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The token in the address that `bun dev` prints, `none` without one. */
export function tokenIn(link = ""): string {
  return /#token=([0-9a-f]{48})$/.exec(link)?.[1] ?? "none";
}
