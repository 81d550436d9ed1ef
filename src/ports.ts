// Everything of a server that listens, loaded while its files are opened: that takes longer.

import type { Fetch } from "./receive/webhook-server.ts";

/** A server inside of an application, which has the public port. */
export interface Mount {
  /** Receives the function that answers requests; a later one replaces it. */
  onFetch: (fetch: Fetch) => void;
  hasInspector: boolean;
  /** Ends an opening that waits for Postgres. */
  signal: AbortSignal;
}

export async function loadPorts(hasInspector: boolean, mount: Mount | undefined) {
  const [receiver, unverified, socket, inspector, metrics] = await Promise.all([
    import("./receive/webhook-server.ts"),
    import("./receive/unverified.ts"),
    import("./api/socket.ts"),
    hasInspector ? import("./inspector/inspector.ts") : undefined,
    import("./monitor/metrics-server.ts"),
  ]);
  const { mountWebhookServer, startWebhookServer } = receiver;
  const openWebhookServer = mount ? mountWebhookServer(mount.onFetch) : startWebhookServer;
  return {
    ...receiver,
    ...unverified,
    ...socket,
    ...metrics,
    openInspector: inspector?.openInspector,
    openWebhookServer,
  };
}
