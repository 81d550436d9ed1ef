// Requests to this machine never go through HTTP_PROXY: a proxy has another loopback, and would see the request.

const LOOPBACK = /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i;

/** An option for `fetch`. Bun takes `false` as "no proxy", whatever the environment sets; its types lack it. */
export const WITHOUT_PROXY = { proxy: false as unknown as string };

/** The same for a loopback address; nothing for another machine's, which may need the proxy. */
export function proxyFor(url: string): { proxy?: string } {
  return LOOPBACK.test(URL.parse(url)?.hostname ?? "") ? WITHOUT_PROXY : {};
}
