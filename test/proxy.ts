// Stands between a client and a server on TCP, and loses connections at the moment that a test chooses.

import type { Socket } from "bun";

/**
 * What becomes of bytes that the client sends. `cut`: the connection is lost before they arrive. `forward-then-cut`: they
 * arrive, and the answer is lost. A number: the client's connection is lost at once, and they arrive so many milliseconds
 * later all the same.
 */
export type Fate = "forward" | "cut" | "forward-then-cut" | number;

export interface Proxy extends Disposable {
  port: number;
  /** Decides about everything that clients send from now on. */
  onClient: (bytes: Buffer) => Fate;
  cutAll(): void;
}

interface Pair {
  server: Socket | undefined;
  before: Buffer[];
  answersLost: boolean;
  outlives: boolean;
}

export function startProxy(target: number): Proxy {
  const clients = new Set<Socket<Pair>>();
  const listener = Bun.listen<Pair>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(client) {
        client.data = { server: undefined, before: [], answersLost: false, outlives: false };
        clients.add(client);
        void connect(client).catch(() => client.terminate());
      },
      data(client, chunk) {
        const bytes = Buffer.from(chunk);
        const fate = proxy.onClient(bytes);
        if (fate === "cut") return client.terminate();
        if (typeof fate === "number") {
          const { server } = client.data;
          client.data.outlives = true;
          client.terminate();
          setTimeout(() => server?.write(bytes), fate);
          setTimeout(() => server?.end(), fate + 200);
          return;
        }
        if (fate === "forward-then-cut") client.data.answersLost = true;
        if (client.data.server) client.data.server.write(bytes);
        else client.data.before.push(bytes);
      },
      close(client) {
        clients.delete(client);
        if (!client.data.outlives) client.data.server?.end();
      },
    },
  });

  async function connect(client: Socket<Pair>) {
    client.data.server = await Bun.connect({
      hostname: "127.0.0.1",
      port: target,
      socket: {
        data(_, chunk) {
          if (client.data.answersLost) client.terminate();
          else client.write(chunk);
        },
        close: () => client.terminate(),
      },
    });
    for (const bytes of client.data.before) client.data.server.write(bytes);
  }

  const proxy: Proxy = {
    port: listener.port,
    onClient: () => "forward",
    cutAll() {
      for (const client of clients) client.terminate();
    },
    [Symbol.dispose]() {
      proxy.cutAll();
      listener.stop(true);
    },
  };
  return proxy;
}
