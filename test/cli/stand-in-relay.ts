// A stand-in for Svix's public relay: the same WebSocket messages, and a public address for each token. The real `clerk`
// and `svix` commands work against it, too.

import type { ServerWebSocket } from "bun";

interface Connection {
  token: string | undefined;
}

interface Frame {
  type: string;
  version: number;
  data: { token?: string; id?: string; status?: number; headers?: Record<string, string>; body?: string };
}

export interface StandInRelay extends AsyncDisposable {
  /** For clients. */
  url: string;
  /** Tokens that are connected now, and every registration so far. */
  tokens(): string[];
  registrations: string[];
  /** Pings that clients have sent. */
  pings: number;
  /** Posts to the public address of a token, as Svix does; 502 when no client is connected, 504 without an answer. */
  post(token: string, body: string, headers?: Record<string, string>): Promise<Response>;
  /** Requests that wait for an answer. */
  waiting: () => number;
  /** Drops all connections without a close message. */
  drop(): void;
  /** Another client takes this token; returns a function that ends that. */
  occupy(token: string): () => void;
  /** Refuses the next registrations as if the token were in use. */
  refuseNext: number;
  /** Stops listening; `start` listens again on the same port. */
  stop(): Promise<void>;
  start(): void;
}

interface RelayOptions {
  tls?: { key: string; cert: string };
  port?: number;
  hostname?: string;
  /** How long a sender waits. Svix's own limit is 15 s. */
  answerMs?: number;
  /** A new connection takes a token from the one that has it. The real relay's clients expect the opposite. */
  newestWins?: boolean;
  /** As the real one: every 20 s. */
  pingEveryMs?: number;
}

export function startRelay({
  tls,
  port = 0,
  hostname = "127.0.0.1",
  answerMs = 15_000,
  newestWins = false,
  pingEveryMs = 20_000,
}: RelayOptions = {}): StandInRelay {
  const sockets = new Map<string, ServerWebSocket<Connection>>();
  const all = new Set<ServerWebSocket<Connection>>();
  const occupied = new Set<string>();
  const pending = new Map<string, (response: Response) => void>();
  let server: Bun.Server<Connection> | undefined;
  let chosen = port;

  function send(socket: ServerWebSocket<Connection>, type: string, data: object) {
    socket.send(JSON.stringify({ type, version: 1, data }));
  }

  function start() {
    server = Bun.serve<Connection>({
      port: chosen,
      hostname,
      ...(tls && { tls }),
      fetch(request, server) {
        const { pathname } = new URL(request.url);
        if (pathname === "/api/v1/listen/" && server.upgrade(request, { data: { token: undefined } })) return undefined;
        const token = /^\/in\/([^/]+)\/$/.exec(pathname)?.[1];
        return token ? receive(token, request) : new Response("not found", { status: 404 });
      },
      websocket: {
        open: (socket) => void all.add(socket),
        ping: () => void (relay.pings += 1),
        message(socket, text) {
          // `svix listen` sends its answers as binary messages.
          const { type, version, data } = JSON.parse(String(text)) as Frame;
          if (version !== 1) return socket.close(1002, "unknown version");
          if (type === "start") return register(socket, data.token ?? "");
          const { id = "", status = 0, headers = {}, body = "" } = data;
          pending.get(id)?.(new Response(Buffer.from(body, "base64"), { status, headers }));
          pending.delete(id);
          return undefined;
        },
        close(socket) {
          all.delete(socket);
          const { token } = socket.data;
          if (token && sockets.get(token) === socket) sockets.delete(token);
        },
      },
    });
    chosen = server.port ?? chosen;
  }

  function register(socket: ServerWebSocket<Connection>, token: string) {
    if (!/^c_[0-9A-Za-z]{10}$/.test(token)) return socket.close(1008, "Invalid token");
    if (newestWins) sockets.get(token)?.close(1008, "This socket is already in use");
    else if (occupied.has(token) || sockets.has(token) || relay.refuseNext-- > 0)
      return socket.close(1008, "This socket is already in use");
    socket.data.token = token;
    sockets.set(token, socket);
    relay.registrations.push(token);
    send(socket, "start", { token });
    return undefined;
  }

  async function receive(token: string, request: Request): Promise<Response> {
    const socket = sockets.get(token);
    if (!socket) return new Response("no client", { status: 502 });
    const id = crypto.randomUUID();
    const { promise, resolve } = Promise.withResolvers<Response>();
    pending.set(id, resolve);
    const body = Buffer.from(await request.arrayBuffer()).toString("base64");
    send(socket, "event", { id, method: request.method, headers: Object.fromEntries(request.headers), body });
    const timer = setTimeout(() => resolve(new Response("no answer", { status: 504 })), answerMs);
    return await promise.finally(() => {
      clearTimeout(timer);
      pending.delete(id);
    });
  }

  const relay: StandInRelay = {
    url: "",
    tokens: () => [...sockets.keys()],
    registrations: [],
    pings: 0,
    refuseNext: 0,
    post: (token, body, headers = {}) =>
      fetch(`http://127.0.0.1:${chosen}/in/${token}/`, { method: "POST", body, headers }),
    waiting: () => pending.size,
    drop() {
      for (const socket of all) socket.terminate();
    },
    occupy(token) {
      occupied.add(token);
      return () => occupied.delete(token);
    },
    async stop() {
      await server?.stop(true);
    },
    start,
    async [Symbol.asyncDispose]() {
      clearInterval(pings);
      await server?.stop(true);
    },
  };
  start();
  const pings = setInterval(() => {
    for (const socket of all) socket.ping();
  }, pingEveryMs);
  relay.url = `${tls ? "wss" : "ws"}://127.0.0.1:${chosen}/api/v1/listen/`;
  return relay;
}
