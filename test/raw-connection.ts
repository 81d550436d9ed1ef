// HTTP requests as raw bytes, for requests that no HTTP client would send. Import these functions from the harness.

import { connect } from "node:net";

/** The bytes of a request, which may be invalid. Adds a missing Host and Content-Length. */
export function rawRequest(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body: string | Uint8Array = "",
): Buffer {
  const bytes = Buffer.from(body);
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const length = bytes.length > 0 && !given.has("transfer-encoding") ? { "content-length": String(bytes.length) } : {};
  const all = { ...(given.has("host") ? {} : { host: "bellhop.test" }), ...length, ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`), bytes]);
}

export interface RawConnection extends Disposable {
  write(bytes: string | Uint8Array): void;
  /** All bytes received so far, as Latin-1. */
  received(): string;
  /** Resolves when either side has closed the connection. */
  closed: Promise<void>;
  /** The status and body of the next response. Its length must be in Content-Length. */
  answer(): Promise<{ status: number; body: string }>;
}

export async function rawConnection(port: number): Promise<RawConnection> {
  const socket = connect(port, "127.0.0.1");
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  let text = "";
  let read = 0;
  let isClosed = false;
  let changed = Promise.withResolvers<void>();
  const change = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  socket.setNoDelay(true);
  socket.on("data", (bytes) => {
    text += bytes.toString("latin1");
    change();
  });
  // Tests check `received` and `closed` instead of errors.
  socket.on("error", () => undefined);
  socket.on("close", () => {
    isClosed = true;
    close();
    change();
  });
  await new Promise((resolve) => socket.once("connect", resolve));

  function next() {
    const [head] = text.slice(read).split("\r\n\r\n", 1);
    if (head === undefined || read + head.length === text.length) return undefined;
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    const from = read + head.length + 4;
    if (text.length < from + length) return undefined;
    read = from + length;
    return { status: Number(head.slice(9, 12)), body: text.slice(from, read) };
  }

  return {
    write: (bytes) => void socket.write(bytes),
    received: () => text,
    closed,
    async answer() {
      while (true) {
        const response = next();
        if (response) return response;
        if (isClosed) throw new Error(`the connection was closed without a response, after: ${text.slice(read)}`);
        await changed.promise;
      }
    },
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** Sends one request over a new connection. */
export async function rawExchange(port: number, request: Uint8Array): Promise<{ status: number; body: string }> {
  using connection = await rawConnection(port);
  connection.write(request);
  return await connection.answer();
}
