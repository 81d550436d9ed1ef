// Finds a free TCP port. Not part of the harness, because importing that loads the whole server.

/** Returns a port on which no process listens. */
export async function freePort(): Promise<number> {
  while (true) {
    // Below the ephemeral range, from which an outgoing connection could take the port before the server does.
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    try {
      await Bun.serve({ port, hostname: "127.0.0.1", reusePort: false, fetch: () => new Response() }).stop(true);
      return port;
    } catch {
      // The port is in use: try another.
    }
  }
}
