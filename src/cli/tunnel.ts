// Finds the public URL that an ngrok agent on this machine forwards to the server's port.

// ngrok's agent API (ngrok.com/docs/agent/api).
const NGROK_API = "http://127.0.0.1:4040/api/tunnels";
const EVERY_MS = 2_000;

interface Tunnel {
  public_url?: string;
  config?: { addr?: string };
}

/** The public https URL of a tunnel to `port`, or undefined. Never throws, since most machines run no agent. */
export async function findTunnel(port: number, api = NGROK_API): Promise<string | undefined> {
  try {
    // HTTP_PROXY does not reach this machine's loopback address. Bun's types lack `proxy: false`.
    const proxy = false as unknown as string;
    const response = await fetch(api, { signal: AbortSignal.timeout(1_000), proxy });
    const { tunnels = [] } = (await response.json()) as { tunnels?: Tunnel[] };
    const matching = tunnels.filter(({ config }) => new RegExp(`(^|:)${port}/?$`).test(config?.addr ?? ""));
    const tunnel = matching.find(({ public_url: url }) => url?.startsWith("https:")) ?? matching[0];
    return tunnel?.public_url?.replace(/\/+$/, "");
  } catch {
    return undefined;
  }
}

/** Calls `onAddress` now and on every change, also when ngrok starts later. Returns a function that stops it. */
export function watchTunnel(
  port: number,
  onAddress: (url: string | undefined) => void,
  { api = NGROK_API, everyMs = EVERY_MS } = {},
): () => void {
  let known: string | undefined | null = null;
  let ended = false;
  const look = async () => {
    const url = await findTunnel(port, api);
    if (ended || url === known) return;
    known = url;
    onAddress(url);
  };
  void look();
  const timer = setInterval(() => void look(), everyMs).unref();
  return () => {
    ended = true;
    clearInterval(timer);
  };
}
