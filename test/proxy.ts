// A TCP proxy that drops connections at the moment that a test chooses.

import type { Socket } from "bun";

/**
 * What happens to bytes that the client sends. `cut`: the connection is lost before they arrive. `forward-then-cut`: they
 * arrive, but the response is lost. A number: the client's connection is lost at once, and the bytes arrive that many
 * milliseconds later.
 */
export type Fate = "forward" | "cut" | "forward-then-cut" | number;

export interface Proxy extends Disposable {
  port: number;
  /** Decides the fate of everything that clients send from now on. */
  onClient: (bytes: Buffer) => Fate;
  /** The delay in each direction. */
  delayMs: number;
  /** Connections stay open but no byte gets through, as when a machine loses its network. */
  halfOpen: boolean;
  cutAll(): void;
  /** The clients lose their connections; the server keeps its ends, as when a machine loses its network for good. */
  abandonAll(): void;
}

interface Pair {
  server: Socket | undefined;
  pending: Buffer[];
  dropResponses: boolean;
  keepServer: boolean;
}

export function startProxy(target: number): Proxy {
  const clients = new Set<Socket<Pair>>();
  const servers = new Set<Socket>();
  const listener = Bun.listen<Pair>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(client) {
        client.data = { server: undefined, pending: [], dropResponses: false, keepServer: false };
        clients.add(client);
        void connect(client).catch(() => client.terminate());
      },
      data(client, chunk) {
        if (proxy.halfOpen) return;
        const bytes = Buffer.from(chunk);
        const fate = proxy.onClient(bytes);
        if (fate === "cut") return client.terminate();
        if (typeof fate === "number") {
          const { server } = client.data;
          client.data.keepServer = true;
          client.terminate();
          setTimeout(() => server?.write(bytes), fate);
          setTimeout(() => server?.end(), fate + 200);
          return;
        }
        if (fate === "forward-then-cut") client.data.dropResponses = true;
        delayed(() => {
          if (client.data.server) client.data.server.write(bytes);
          else client.data.pending.push(bytes);
        });
      },
      close(client) {
        clients.delete(client);
        if (!client.data.keepServer && !proxy.halfOpen) client.data.server?.end();
      },
    },
  });

  async function connect(client: Socket<Pair>) {
    client.data.server = await Bun.connect({
      hostname: "127.0.0.1",
      port: target,
      socket: {
        data(_, chunk) {
          if (proxy.halfOpen) return;
          if (client.data.dropResponses) return client.terminate();
          const bytes = Buffer.from(chunk);
          delayed(() => client.write(bytes));
        },
        close(server) {
          servers.delete(server);
          client.terminate();
        },
      },
    });
    servers.add(client.data.server);
    for (const bytes of client.data.pending) client.data.server.write(bytes);
  }

  function delayed(send: () => unknown) {
    if (proxy.delayMs > 0) setTimeout(send, proxy.delayMs);
    else send();
  }

  const proxy: Proxy = {
    port: listener.port,
    onClient: () => "forward",
    delayMs: 0,
    halfOpen: false,
    cutAll() {
      for (const client of clients) client.terminate();
    },
    abandonAll() {
      for (const client of clients) {
        client.data.keepServer = true;
        client.terminate();
      }
    },
    [Symbol.dispose]() {
      proxy.cutAll();
      for (const server of servers) server.terminate();
      listener.stop(true);
    },
  };
  return proxy;
}
